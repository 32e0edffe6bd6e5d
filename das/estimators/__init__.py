"""Closed-form fits: labelled activations in, frozen interventions out. `base` has the interfaces."""
