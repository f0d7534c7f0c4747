"""The driver for Intel's 82576 and its relatives."""
