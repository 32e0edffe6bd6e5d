"""MSRS: multi-subspace representation steering, one shared subspace and a private one per attribute (arXiv 2508.10599).

Equation   h' = h + R (m(h) (W h + b - R^T h)),  R = [shared, private_1, ..., private_n] orthonormal, m as `TokenGate`
Fitted on  activations x_i of every attribute's prompts (with it, not without): shared = the leading right singular
           vectors of all x_i with at least `energy` of the squared norm; private_i = those of x_i without the shared
           part and the private ones before it. A concept of several-concept tasks is an attribute; of others a value
           Read at the tokens that hold the attributes (`source_positions`), written at "prompt"
Trained by `lm_loss`, plus `gate_weight` * mean m and `anchor_weight` * ||R - (fitted R)||^2
Steering   as it was trained, at one token of the prompt per subspace: the one with the longest coordinates there
Shapes     x (N, width) -> R (width, rank), W (rank, width), b (rank,)
Raises     InputError where the activations do not hold so many directions
Deviation  the paper trains at all tokens and chooses only when it steers (`choose="after"`); here the choice is trained
           with. Its regularisers could not be read
Limit      a private subspace is its attribute's own where nothing else varies as much among the attribute's prompts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.edits.affine import Affine
from das.errors import InputError
from das.estimators.base import POSITIVE, Examples
from das.featurizers.anchored_rotation import AnchoredRotation
from das.featurizers.rotation import Parametrization
from das.gates.token_gate import Choose, TokenGate
from das.geometry import orthonormalize
from das.interventions.base import Intervention

Activations = Float[Tensor, "row width"]


@final
@dataclass(frozen=True)
class Msrs:
    """Shared and private subspaces, to be trained on.

    Attributes:
        energy: share of the squared norm that the shared subspace holds.
        shared: most directions of the shared subspace.
        private: directions of each private one.
        hidden: size of the gate's network.
        gate_weight, anchor_weight: of the penalties.
        choose: when only one token per subspace is edited, "always", "after" training, or "never".
        parametrization: how R is kept orthonormal.
    """

    energy: float = 0.6
    shared: int = 8
    private: int = 1
    hidden: int = 32
    gate_weight: float = 0.0
    anchor_weight: float = 0.1
    choose: Choose = "always"
    parametrization: Parametrization = "retract"

    def fit(self, examples: Examples) -> Intervention:
        """Gated LoReFT on the blocks; the affine part is drawn at random."""
        blocks = self.blocks(attributes(examples))
        sizes, basis = [block.shape[1] for block in blocks], orthonormalize(torch.cat(blocks, 1))
        width, rank = basis.shape
        featurizer = AnchoredRotation(width, rank, basis, self.anchor_weight, self.parametrization)
        gate = TokenGate(width, sizes, self.hidden, self.gate_weight, self.choose)
        return Intervention(featurizer, Affine(width, rank), gate, trained_by="lm_loss", name="msrs")

    def blocks(self, attributes: list[Activations]) -> list[Float[Tensor, "width size"]]:
        """Orthonormal and orthogonal to each other: the shared basis, then every attribute's own.

        Raises:
            InputError: nothing is left for a private subspace.
        """
        _, s, v = torch.linalg.svd(torch.cat(attributes), full_matrices=False)
        held = s.square().cumsum(0) / s.square().sum()
        size = min(int((held < self.energy).sum()) + 1, self.shared)
        found = [v[:size].T]
        for i, x in enumerate(attributes):
            taken = torch.cat(found, 1)
            _, s, v = torch.linalg.svd(x - x @ taken @ taken.T, full_matrices=False)
            if len(s) < self.private or not bool(s[self.private - 1] > 1e-9 * x.norm()):
                raise InputError(
                    f"attribute {i} has no {self.private} directions of its own",
                    got=f"{len(x)} activations of width {x.shape[1]}, {taken.shape[1]} directions taken",
                    remedy="lower energy, shared or private, or give more prompts",
                )  # fmt: skip
            found.append(v[: self.private].T)
        return found


def attributes(examples: Examples) -> list[Activations]:
    """Activations of every attribute: of each concept its prompts of the positive value, else of each value."""
    if examples.concept is None:
        return [examples.side(value) for value in examples.classes]
    return [examples.side(POSITIVE, examples.concept == c) for c in examples.concept.unique()]


METHOD = Msrs
