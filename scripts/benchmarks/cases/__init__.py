"""One benchmark per module: `BAR` says what it should reach, `run()` measures it."""
