"""From many numbers to the one a protocol reports: pure functions, one protocol per file."""
