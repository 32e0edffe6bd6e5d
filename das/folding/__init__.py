"""Interventions written into weights, where that is exact. `fold` is the entry."""
