"""SAE: latents of a sparse autoencoder are interchanged, any encoder/decoder pair from a safetensors file.

Equation   h' = h + dec(m z_s + (1 - m) z) - dec(z),  z = act(enc(h))        the reconstruction error of h stays in h'
           m: the latents listed, or (none listed) a learned sigmoid mask as in `dbm` (MIB's DBM+SAE)
Trained by `counterfactual_ce` where the mask is learned
Steering   clamp, add, ablate: h' = h + dec(m (c - z)), what the decoder makes of latents c. An encoder that reads h'
           finds c only where the units do not overlap
Shapes     W_enc (width, latents), W_dec (latents, width); file names as `das.featurizers.sae`
Raises     InputError for a file that is missing or does not fit, or latents out of range
Without a file an autoencoder of `latents` random units stands in, for trying things out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from das.edits.swap import Swap
from das.featurizers.sae import Nonlinearity, Sae
from das.gates.base import Gate
from das.gates.schedule import Curve
from das.gates.sigmoid_mask import SigmoidMask
from das.gates.subset import Subset
from das.interventions.base import Intervention


def sae(
    width: int,
    file: str | None = None,
    activation: Nonlinearity = "relu",
    k: int = 32,
    subtract_decoder_bias: bool = False,
    latents: int = 64,
    chosen: Sequence[int] = (),
    start: float = 1.0,
    end: float = 0.01,
    curve: Curve = "linear",
    weight: float = 0.0,
) -> Intervention:
    """A swap of latents."""
    if file is None:
        decoder = torch.nn.functional.normalize(torch.randn(latents, width), dim=1)
        tensors = {"w_enc": decoder.T, "w_dec": decoder}
        featurizer = Sae(width, latents, activation, k, subtract_decoder_bias, tensors)
    else:
        featurizer = Sae.from_file(file, width, activation=activation, k=k, subtract_decoder_bias=subtract_decoder_bias)
    rank = featurizer.rank
    gate: Gate = Subset(rank, chosen) if chosen else SigmoidMask(rank, start, end, curve, weight=weight)
    return Intervention(featurizer, Swap(), gate, name="sae")


METHOD = sae
