"""Drivers: one package each."""
