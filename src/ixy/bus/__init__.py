"""How a PCI function is reached."""
