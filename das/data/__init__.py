"""From counterfactual pairs (text) to padded tensors: encoding, position grammar, datasets, loaders, responses."""
