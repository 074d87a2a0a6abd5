"""The guest image that comes with kvtui, built from the distribution's kernel and busybox."""
