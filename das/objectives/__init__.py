"""What training minimises. One objective per file; `base` has the interface and the token-weighted mean."""
