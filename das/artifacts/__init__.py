"""The saved subspace: what it holds (`subspace`, `parts`), how it is described and stored, and its card."""
