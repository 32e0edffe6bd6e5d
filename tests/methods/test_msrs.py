"""MSRS (arXiv 2508.10599) against its formula, and on planted prompts of two attributes that share an axis."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from das.batch import PairBatch
from das.context import Context
from das.errors import InputError
from das.estimators.base import Examples
from das.featurizers.anchored_rotation import AnchoredRotation
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.methods.msrs import Msrs
from das.objectives.lm_loss import LMLoss
from das.outputs import Outputs
from das.training.optim import AdamW
from das.training.runner import train_on
from das.types import Site
from tests.contracts.test_objectives import batch_of

WIDTH, TOKENS, ROWS, STEPS = 12, 6, 512, 150
AXES = torch.linalg.qr(torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(9)))[0].T


def prompts(seed: int = 0, dealt: bool = False) -> Examples:
    """Activations with one of two attributes each: 3 a shared + (2 + noise) of its own axis, a = +-1.

    Which attribute a row is said to have is dealt out at random with `dealt`.
    """
    generator, concept = torch.Generator().manual_seed(seed), torch.arange(300) % 2
    sign = 2.0 * torch.randint(0, 2, (300, 1), generator=generator) - 1
    own = 2.0 + 0.3 * torch.randn(300, 1, generator=generator)
    x = 3.0 * sign * AXES[0] + own * AXES[1 + concept] + 0.2 * torch.randn(300, WIDTH, generator=generator)
    said = concept[torch.randperm(300, generator=generator)] if dealt else concept
    return replace(Examples.of(x, torch.ones(300, dtype=torch.long)), concept=said)


def aligned(x: Intervention) -> Tensor:
    """|cos| of every column of the basis with the shared axis and the two attributes' own."""
    return (AXES @ x.featurizer.basis.detach()).abs()


def test_the_shared_subspace_holds_the_energy_and_private_ones_the_rest():
    """Against eigenvectors of second moments."""
    examples = prompts()
    x = examples.x.double()
    for energy in (0.3, 0.6, 0.9, 0.95):
        size = Msrs(energy=energy).fit(examples).gate.sizes[0]
        held = torch.linalg.eigvalsh(x.T @ x).flip(0)
        assert float(held[:size].sum() / held.sum()) >= energy > float(held[: size - 1].sum() / held.sum())
    assert Msrs(energy=0.95, shared=2).fit(examples).gate.sizes[0] == 2
    basis = Msrs(private=2).fit(examples).featurizer.basis.detach().double()
    taken = basis[:, :1]
    assert float((torch.linalg.eigh(x.T @ x)[1][:, -1:].T @ taken).abs()) == pytest.approx(1, abs=1e-5)
    for i in range(2):
        rest = x[examples.concept == i] @ (torch.eye(WIDTH) - taken @ taken.T)
        top = torch.linalg.eigh(rest.T @ rest)[1][:, -2:]
        own = basis[:, 1 + 2 * i : 3 + 2 * i]
        assert torch.allclose(torch.linalg.svdvals(top.T @ own), torch.ones(2, dtype=torch.float64), atol=1e-5)
        taken = torch.cat([taken, own], 1)


def test_too_few_directions_are_refused():
    line = replace(Examples.of(AXES[:1].expand(8, -1), torch.ones(8, dtype=torch.long)), concept=torch.arange(8) % 2)
    with pytest.raises(InputError, match="of its own"):
        Msrs().fit(line)


@pytest.mark.parametrize("choose", ["always", "after", "never"])
@pytest.mark.parametrize("progress", [0.5, 1.0])
def test_the_forward_is_the_formula_at_the_tokens_chosen(choose, progress):
    """Of each block the real prompt token with the longest coordinates; padding and the response do not compete."""
    x, h = Msrs(choose=choose, private=2).fit(prompts()), 2 * torch.randn(4, TOKENS, WIDTH, dtype=torch.float64)
    real, prompt = (torch.arange(TOKENS) < torch.tensor(n)[:, None] for n in ([6, 5, 6, 3], [4, 5, 2, 3]))
    h[~(real & prompt)] *= 9
    out = x(h, None, Context(token_mask=real, prompt_mask=prompt, progress=progress)).activation.detach()
    basis, sizes = x.featurizer.basis.detach().double(), x.gate.sizes
    chooses = choose == "always" or (choose == "after" and progress == 1.0)
    for row, made, seen in zip(h, out, real & prompt, strict=True):
        expected, start = row.clone(), 0
        for size in sizes:
            own = slice(start, start + size)
            lengths = [float((basis[:, own].T @ t).norm()) if ok else -1.0 for t, ok in zip(row, seen, strict=True)]
            for at in [lengths.index(max(lengths))] if chooses else range(TOKENS):
                share = x.gate.network(row[at].float()).sigmoid()[own].detach()
                new = (x.edit.weight.double() @ row[at] + x.edit.bias)[own].detach()
                expected[at] += basis[:, own] @ (share * (new - basis[:, own].T @ row[at]))
            start += size
        assert torch.allclose(made, expected, atol=1e-10)


def test_an_open_gate_is_loreft_and_a_closed_one_nothing():
    x, h = Msrs(choose="never").fit(prompts()), torch.randn(3, TOKENS, WIDTH)
    plain = Intervention(x.featurizer, x.edit)(h).activation
    for bias, expected in ((100.0, plain), (-100.0, h)):
        torch.nn.init.zeros_(x.gate.network[-1].weight)
        torch.nn.init.constant_(x.gate.network[-1].bias, bias)
        assert torch.allclose(x(h).activation, expected, atol=1e-5)
    assert not torch.allclose(plain, h, atol=0.1)


class Off:
    """Noise, 3 a shared at any token, and each attribute off: -2 of its axis at a token of its own.

    A query reads one attribute at all tokens; the answer to train is that it is on.
    """

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.arange(ROWS)
        self.h = 0.2 * torch.randn(ROWS, TOKENS, WIDTH, generator=generator)
        self.at = torch.rand(ROWS, TOKENS, generator=generator).argsort(1)[:, :3]
        sign = 2.0 * torch.randint(0, 2, (ROWS,), generator=generator) - 1
        off = torch.full((ROWS,), -2.0)
        for size, at, axis in zip((3 * sign, off, off), self.at.T, AXES, strict=True):
            self.h[rows, at] += size[:, None] * axis
        self.asked = torch.randint(0, 2, (ROWS,), generator=generator)

    def probes(self, h: Tensor) -> Tensor:
        """How much there is of each attribute, (B, 2)."""
        return h.sum(1) @ AXES[1:].T

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        made = interventions[0](self.h[batch.rows], None, Context(progress=progress))
        score = self.probes(made.activation).gather(1, self.asked[batch.rows][:, None])
        return Outputs(torch.stack([-score, score], -1), aux=(made.aux,))

    def train(self, made: Intervention) -> Intervention:
        placed, generator = InterventionSet([(Site(0), made)]), torch.Generator().manual_seed(1)
        draws = [torch.randint(0, ROWS, (32,), generator=generator) for _ in range(STEPS)]
        plain = batch_of(torch.ones(32, 1, dtype=torch.bool))
        batches = [replace(plain, rows=rows, label_ids=torch.ones(32, 1, dtype=torch.long)) for rows in draws]
        return train_on(self, placed, LMLoss(), batches.__getitem__, STEPS, optimizer=AdamW(lr=0.02))[0]

    def chosen(self, x: Intervention) -> Tensor:
        """Share of prompts in which each block is edited where its axis is, (3,)."""
        picked = x.gate.chosen(x.coordinates(self.h), torch.ones(self.h.shape[:2], dtype=torch.bool))
        return (picked.long().argmax(1) == self.at).float().mean(0)


def only(x: Intervention, block: int) -> Intervention:
    """The same, with the gate of all other blocks closed."""
    x = copy.deepcopy(x)
    x.gate.network[-1].bias[torch.arange(3) != block] = -1e4
    return x


def test_private_subspaces_are_the_axes_of_their_attributes():
    """Which is which comes from what the prompts are said to hold: exchanged with it, and by chance where dealt out."""
    for seed in range(6):
        examples = prompts(seed)
        exchanged = replace(examples, concept=1 - examples.concept)
        assert (aligned(Msrs().fit(examples)).diag() >= 0.99).all()
        assert (aligned(Msrs().fit(exchanged))[[0, 2, 1]].diag() >= 0.99).all()
    by_chance = [bool((aligned(Msrs().fit(prompts(seed, dealt=True))).diag() >= 0.99).all()) for seed in range(6)]
    assert sum(by_chance) <= 3


def test_what_is_learned_in_one_private_subspace_leaves_the_other_attribute():
    held_out, model = Off(1), Off(0)
    assert float((held_out.probes(held_out.h) < 0).float().mean()) >= 0.95, "the model itself says off"
    x = model.train(Msrs().fit(prompts()))
    assert (aligned(x).diag() >= 0.98).all() and (held_out.chosen(x) >= 0.98).all()
    assert x.invariants() == {"orthonormal": pytest.approx(0, abs=1e-5)}
    before = held_out.probes(held_out.h)
    for attribute in (0, 1):
        after = held_out.probes(only(x, 1 + attribute)(held_out.h).activation)
        assert float((after[:, attribute] > 0).float().mean()) >= 0.98
        assert float((after - before)[:, 1 - attribute].abs().mean()) <= 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_from_a_random_basis_no_subspace_is_one_attributes_own(seed):
    """The negative control: the same training, started and anchored elsewhere. It may steer as well."""
    torch.manual_seed(seed)
    started = Msrs().fit(prompts(seed))
    drawn = AnchoredRotation(WIDTH, 3, weight=started.featurizer.weight)
    assert (aligned(started).diag() >= 0.98).all()
    assert (aligned(Off(seed).train(Intervention(drawn, started.edit, started.gate))).diag() <= 0.8).all()
