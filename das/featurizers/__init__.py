"""Which coordinates of an activation an intervention works in. One featurizer per file; `base` has the interface."""
