"""Devices in software, true to their datasheets, and the wires that they are plugged into."""
