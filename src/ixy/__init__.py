"""User-space network drivers, written in Python."""
