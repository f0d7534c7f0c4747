"""Packets to send, their timing, and what is learned from those that arrive."""
