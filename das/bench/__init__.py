"""The project's own miniature benchmarks, one per file: models and tasks about which the right answer is known."""
