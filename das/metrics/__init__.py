"""What is reported. One metric per file, one value per row; `base` has the interface, the mean and its splits."""
