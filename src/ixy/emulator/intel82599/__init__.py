"""The emulated 82599: `model` is its registers, `datapath` its packets, `port` what they share."""
