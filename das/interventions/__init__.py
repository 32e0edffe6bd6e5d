"""The equation (`base`), ordered sets of it (`sets`), and the named methods, one per file."""
