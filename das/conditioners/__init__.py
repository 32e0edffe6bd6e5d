"""Hypernetworks: what is computed per row for an intervention's other parts. `base` has the interface."""
