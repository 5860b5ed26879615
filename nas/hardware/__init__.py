"""Devices: what they are, how long networks take on them, and how that is measured. Never imports torch (but export)."""
