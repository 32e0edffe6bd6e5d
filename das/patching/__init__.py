"""Activation patching: which activations carry what differs between a clean and a corrupted run."""
