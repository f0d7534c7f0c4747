"""The driver for Intel's 82599, X540 and X550: `driver` sets it up, `rings` moves the packets."""
