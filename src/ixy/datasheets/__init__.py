"""The datasheets, machine-readable: what drivers and emulated devices both read, and neither
repeats.
"""
