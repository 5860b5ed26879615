"""Data, training of the supernet, fine-tuning."""
