"""Steering: a trained subspace edits a running model, in place, at real positions, until it is removed."""
