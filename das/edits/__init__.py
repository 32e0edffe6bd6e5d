"""What happens to the coordinates. One edit per file; `base` has the interface."""
