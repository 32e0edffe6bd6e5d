"""Who says how good steered text is. One judge per file; `base` has the interface."""
