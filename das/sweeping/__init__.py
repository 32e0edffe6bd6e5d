"""Sweeps over sites: layers x token positions x ranks x seeds in one process that shares one pass over the data."""
