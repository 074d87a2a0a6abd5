"""What a real cluster brings itself: only the local engine runs these."""
