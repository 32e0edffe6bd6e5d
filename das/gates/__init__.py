"""How much of each coordinate is edited. One gate per file; `base` has the interface."""
