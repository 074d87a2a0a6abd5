"""Disk images in: HTTP and registry sources, clones and blanks, written once, checked, and published by a rename."""
