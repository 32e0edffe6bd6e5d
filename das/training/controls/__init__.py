"""What a subspace has to be compared with. One control per file; a number without these beside it means nothing."""
