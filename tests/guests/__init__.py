"""Guests for tests: the distribution's own programs, and if wanted its full kernel, on the lab's image."""
