"""What the server answers, by sort of request."""
