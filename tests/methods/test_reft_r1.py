"""ReFT-r1 (arXiv 2501.17148) against its formula, and on planted sentences in which one token holds the concept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from das.batch import PairBatch
from das.context import Context
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.methods.reft_r1 import reft_r1
from das.objectives.lm_loss import LMLoss
from das.outputs import Outputs
from das.training.optim import AdamW
from das.training.runner import train_on
from das.types import Site
from tests.contracts.test_objectives import batch_of

WIDTH, TOKENS, ROWS, STEPS, K = 16, 10, 512, 150, 2
NOISE, SIZE = 0.3, 5.0


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_the_forward_is_the_formula_whatever_the_length_of_a_row(progress):
    h, lengths = torch.randn(5, 7, WIDTH, dtype=torch.float64), [7, 4, 2, 1, 3]
    x = reft_r1(WIDTH, k=3, weight=0.7).double()
    v = x.featurizer.vector.detach()
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    made = x(h, None, Context(token_mask=mask, progress=progress))
    rest: list[float] = []
    for row, out, n in zip(h, made.activation, lengths, strict=True):
        latents = sorted((max(float(v @ t), 0.0) for t in row[:n]), reverse=True)
        amount = sum(latents[:3]) / min(3, n)
        assert torch.allclose(out[:n], row[:n] + amount * v, atol=1e-12)
        rest += latents[3:]
    assert float(made.aux["penalty/latents"].detach()) == pytest.approx(
        progress * 0.7 * sum(rest) / len(rest), abs=1e-12
    )


def test_what_stands_in_padding_changes_nothing():
    x, h, mask = reft_r1(WIDTH, k=3), torch.randn(2, 6, WIDTH), torch.arange(6) < torch.tensor([[4], [6]])
    other = torch.where(mask[..., None], h, 100.0)
    made = [x(t, None, Context(token_mask=mask, progress=1.0)) for t in (h, other)]
    assert torch.equal(*(m.activation[mask] for m in made))
    assert torch.equal(*(m.aux["penalty/latents"] for m in made))


def test_a_row_without_a_real_token_leaves_the_others_trainable():
    x, h, mask = reft_r1(WIDTH), torch.randn(2, 6, WIDTH), torch.arange(6) < torch.tensor([[4], [0]])
    x(h, None, Context(token_mask=mask, progress=1.0)).activation[mask].sum().backward()
    both = x.featurizer.vector.grad.clone()
    x.zero_grad()
    x(h[:1], None, Context(token_mask=mask[:1], progress=1.0)).activation[mask[:1]].sum().backward()
    assert torch.allclose(both, x.featurizer.vector.grad, atol=1e-6)


def test_only_the_gradient_across_the_direction_is_kept():
    x = reft_r1(WIDTH).eval()
    x(torch.randn(3, 9, WIDTH)).activation.square().sum().backward()
    v, before = x.featurizer.vector.detach(), x.featurizer.vector.grad.clone()
    x.project_gradient()
    after = x.featurizer.vector.grad
    assert abs(float(before @ v)) > 1.0 and float(after @ v) == pytest.approx(0.0, abs=1e-4)
    assert torch.allclose(after, before - (before @ v) * v, atol=1e-4)


class Sentences:
    """Noise; SIZE d at one token of rows with the concept, as much of another direction at one token of any half.

    Every token's answer is read from d.h alone, yes above 1, so that the model itself says yes at the one token only;
    the label is the row's concept at every token. Rows have 5 to 10 tokens, padded on the right.
    """

    def __init__(self, seed: int, shuffled: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        axes = torch.linalg.qr(torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(9)))[0].T
        self.direction = axes[0]
        lengths = torch.randint(5, TOKENS + 1, (ROWS,), generator=generator)
        self.mask = torch.arange(TOKENS) < lengths[:, None]
        self.concept, distracted = torch.randint(0, 2, (2, ROWS), generator=generator)
        self.h = NOISE * torch.randn(ROWS, TOKENS, WIDTH, generator=generator)
        for axis, here in zip(axes, (self.concept, distracted), strict=True):
            at = (torch.rand(ROWS, generator=generator) * lengths).long()
            self.h[torch.arange(ROWS), at] += SIZE * here[:, None] * axis
        order = torch.randperm(ROWS, generator=generator) if shuffled else torch.arange(ROWS)
        self.label = self.concept[order]

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        made = interventions[0](self.h[batch.rows], None, Context(token_mask=batch.label_mask, progress=progress))
        score = made.activation @ self.direction - 1.0
        return Outputs(torch.stack([-score, score], -1), aux=(made.aux,))

    def batch(self, rows: Tensor) -> PairBatch:
        labels = self.label[rows][:, None].expand(-1, TOKENS)
        return replace(batch_of(self.mask[rows]), rows=rows, label_ids=labels)

    def train(self) -> Intervention:
        placed = InterventionSet([(Site(0), reft_r1(WIDTH, K))])
        generator = torch.Generator().manual_seed(1)
        batches = [self.batch(torch.randint(0, ROWS, (32,), generator=generator)) for _ in range(STEPS)]
        return train_on(self, placed, LMLoss(), batches.__getitem__, STEPS, optimizer=AdamW(lr=0.04))[0]

    def cosine(self, x: Intervention) -> float:
        return float(x.featurizer.vector.detach() @ self.direction)

    def detected(self, x: Intervention) -> float:
        """AUROC of the largest latent of a row."""
        latents = torch.where(self.mask, x.coordinates(self.h)[..., 0].relu(), 0.0).amax(1)
        yes, no = (latents[self.concept == c] for c in (1, 0))
        over, equal = yes[:, None] > no, yes[:, None] == no
        return float(over.float().mean() + equal.float().mean() / 2)

    def accuracy(self, x: Intervention) -> float:
        """Share of real tokens with the right answer."""
        everything = self.batch(torch.arange(ROWS))
        picked = self.outputs(everything, InterventionSet([(Site(0), x)]), 1.0).logits.argmax(-1)
        return float((picked == everything.label_ids)[self.mask].float().mean())


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_direction_is_found_and_detects_and_steers(seed):
    torch.manual_seed(seed)
    held_out, drawn = Sentences(seed + 100), [reft_r1(WIDTH, K) for _ in range(100)]
    assert max(abs(held_out.cosine(x)) for x in drawn) <= 0.9
    assert max(held_out.accuracy(x) for x in drawn) <= 0.9, "of a hundred directions drawn, none comes near"
    found = Sentences(seed).train()
    assert held_out.cosine(found) >= 0.95
    assert held_out.accuracy(found) >= 0.95
    by_chance = sum(held_out.detected(x) for x in drawn) / len(drawn)
    assert held_out.detected(found) >= 0.99 and by_chance <= 0.8, "some detect, most do not"
    assert found.invariants()["unit_norm"] <= 1e-6


def test_the_labels_of_other_rows_do_not_find_it():
    """The negative control: half a way towards the direction, which hedges."""
    held_out, found = Sentences(100), Sentences(0, shuffled=True).train()
    assert abs(held_out.cosine(found)) <= 0.65 and held_out.accuracy(found) <= 0.8
