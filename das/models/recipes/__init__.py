"""The package's own models, one recipe per file: trained or constructed on first use, then read from a cache."""
