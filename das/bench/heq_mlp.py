"""heq_mlp (T2): DAS finds WX in the first layer of a multi-layer perceptron that was trained (arXiv 2303.02536, DAS).

Four objects, vectors of four numbers, uniform in [-1, 1] and rounded to two decimals; is [W = X] = [Y = Z]? Three ReLU
layers of 32, trained on the answer alone, as long and as fast as the authors' own tutorial does: three times 1,048,576
examples in batches of 1024, rate 0.001. Pairs have objects of their own, never seen in training. DAS of rank 16 of 32
on WX after each layer: how much of it is found after the first depends on the seed; after later ones the two equalities
have been merged. How a net is trained matters: twice as long at three times the rate, some keep the equalities apart
for a layer more (seed 1: 0.81 after the second, and as much with rank 4), and some never separate them (seed 2: 0.74
after the first). About 80 s per seed.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from das.bench.base import Gate
from das.bench.fits import iia
from das.bench.vectors import Vectors, placed
from das.methods.das import das
from das.methods.full_vector import full_vector
from das.methods.random_subspace import random_subspace
from das.objectives.counterfactual_ce import CounterfactualCE
from das.seeding import seeded
from das.training.optim import AdamW
from das.training.runner import train_on

HIDDEN, DEPTH, OBJECT = 32, 3, 4
TRAIN_STEPS, TRAIN_BATCH, TRAIN_LR = 3 * 1024, 1024, 1e-3
PAIRS, TEST, STEPS, BATCH, LR = 60_000, 4096, 4000, 512, 3e-3


@final
class HeqMLP:
    """The benchmark."""

    title = "hierarchical equality in a trained multi-layer perceptron"

    def run(self, seed: int) -> list[Gate]:
        """DAS after every layer, beside doing nothing, a full swap and a random half."""
        with seeded(seed), torch.inference_mode(False), torch.enable_grad():
            model = _trained()
            inputs, label = _draw(TEST)
            accuracy = float((model(inputs).argmax(-1) == label).double().mean())
        gates = [Gate("model: accuracy", accuracy, ">= 0.999")]
        for layer in range(DEPTH):
            train, test = (_pairs(model, layer, n, seed, part) for part, n in (("train", PAIRS), ("test", TEST)))
            with seeded(seed):
                made = placed(das(HIDDEN, HIDDEN // 2))
            learned = train_on(
                train, made, CounterfactualCE(), partial(train.drawn, BATCH), STEPS,
                optimizer=AdamW(lr=LR), seed=seed,
            )  # fmt: skip
            bar = "<= 0.7" if layer else ">= 0.88"
            gates += iia(f"DAS after layer {layer}", test.measure(learned[0]), bar)
            if not layer:
                gates += iia("full vector", test.measure(full_vector(HIDDEN)))
                gates += iia("random half", test.measure(random_subspace(HIDDEN, HIDDEN // 2, seed)))
        return gates


def _trained() -> nn.Sequential:
    """The perceptron, from the global random state."""
    widths = [4 * OBJECT, *[HIDDEN] * DEPTH]
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(HIDDEN, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=TRAIN_LR, weight_decay=0.0)
    for _ in range(TRAIN_STEPS):
        inputs, label = _draw(TRAIN_BATCH)
        loss = F.cross_entropy(model(inputs), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False).eval()


def _draw(n: int) -> tuple[Tensor, Tensor]:
    """Inputs (n, 16) with both equalities balanced and independent, and the answer."""
    inputs, wx, yz = _inputs(n)
    return inputs, (wx == yz).long()


def _inputs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    objects = (torch.rand(n, 4, OBJECT) * 200 - 100).round() / 100
    wx, yz = torch.randint(0, 2, (2, n), dtype=torch.bool)
    for equal, first in ((wx, 0), (yz, 2)):
        objects[:, first + 1] = torch.where(equal[:, None], objects[:, first], objects[:, first + 1])
    return objects.flatten(1), wx, yz


@torch.no_grad()
def _pairs(model: nn.Sequential, layer: int, n: int, seed: int, part: str) -> Vectors:
    """Interchanges of WX between activations after a layer's ReLU; train and test have objects of their own."""
    with seeded(1_000_003 * (seed + 1) + (part == "test")):
        (base, wx, yz), (source, other, _) = _inputs(n), _inputs(n)
    below, above = model[: 2 * (layer + 1)], model[2 * (layer + 1) :]
    return Vectors(below(base), {"source": below(source)}, above, (wx == yz).long(), (other == yz).long())


BENCH = HeqMLP()
