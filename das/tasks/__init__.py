"""Tasks: a causal model and a sampler of counterfactual pairs per file. Torch-free."""
