"""Frozen models: loading, families and sites, fingerprints, and the tiny default model the project trains itself."""
