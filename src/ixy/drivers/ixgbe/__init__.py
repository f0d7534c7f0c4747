"""The driver for Intel's 82599, X540 and X550; `intel.rings` moves the packets."""
