"""What every objective promises, checked for every yaml in conf/objective."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest
import torch
from omegaconf import OmegaConf

from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.batch import PairBatch, Positions, TokenBatch
from das.edits.add import Add
from das.errors import CapabilityError
from das.featurizers.direction import Direction
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.objectives.base import Factored, Objective, with_factors
from das.outputs import Outputs, Watched
from das.types import Site
from tests.contracts.groups import CONF, made, names

OBJECTIVES = names("objective")
VOCAB, ROWS, LABELS, CHOICES = 11, 4, 3, 3
#: The direction that objectives on activations aim at.
AIM = torch.nn.functional.normalize(torch.linspace(-1.0, 2.0, VOCAB), dim=0)
PREFERENCES = ("preferences", "contrast_preferences")


def build(name: str) -> Objective:
    """The objective; where it aims at a saved subspace, at one whose direction has the width of the vocabulary."""
    if "subspace" not in OmegaConf.load(CONF / "objective" / f"{name}.yaml"):
        return made("objective", name)
    found = InterventionSet([(Site(0), Intervention(Direction(VOCAB, AIM, learned=False), Add(1)))])
    with TemporaryDirectory() as folder:
        Subspace(found.frozen(), ModelCard("none", None, "None", VOCAB, 1, "0"), (None,)).save(folder)
        return made("objective", name, subspace=folder)


def batch_of(mask: torch.Tensor, seed: int = 0) -> PairBatch:
    """Rows with random labels, without choices and groups."""
    rows, labels = mask.shape
    ids = torch.randint(0, VOCAB, (rows, labels), generator=torch.Generator().manual_seed(seed))
    tokens = TokenBatch(torch.zeros(rows, labels + 1, dtype=torch.long), torch.ones(rows, labels + 1, dtype=torch.bool))
    where = Positions(torch.zeros(rows, 1, dtype=torch.long), torch.ones(rows, 1, dtype=torch.bool))
    steps = torch.arange(labels).expand(rows, -1)
    return PairBatch(
        base=tokens, sources={"source": tokens}, writes=(where,), reads=({"source": where},), label_positions=steps,
        label_ids=ids, label_mask=mask, rows=torch.arange(rows), changed=torch.ones(rows, dtype=torch.bool),
        target="source", target_positions=steps,
    )  # fmt: skip


def suited(objective: Objective, mask: torch.Tensor) -> PairBatch:
    """The kind of batch this objective asks for: a label set for pairs; winners and losers for preferences."""
    batch, rows = batch_of(mask), len(mask)
    if objective.needs.rows in PREFERENCES:
        sign = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(rows // 4 + 1)[:rows]
        batch = replace(batch, group=2, per_row={"direction": sign}, draw=torch.linspace(0, 0.99, rows))
    elif objective.needs.rows == "pairs":
        others = (batch.label_ids[:, :1] + torch.tensor([1, 2])) % VOCAB
        choices = torch.cat([others[:, :1], batch.label_ids[:, :1], others[:, 1:]], 1)
        right, base = torch.ones(rows, dtype=torch.long), torch.arange(rows) % 2
        batch = replace(batch, choices=choices, counterfactual_choice=right, base_choice=base, rival_choice=1 - base)
    return with_factors(objective, batch)


def take(batch: PairBatch, rows: list[int]) -> PairBatch:
    """Some rows of a batch."""

    def taken(value):
        if isinstance(value, torch.Tensor):
            return value[rows]
        return {k: v[rows] for k, v in value.items()} if value and value is batch.per_row else value

    return PairBatch(**{name: taken(value) for name, value in vars(batch).items()})


def target_of(batch: PairBatch) -> torch.Tensor:
    """A counterfactual distribution that is sure of the label."""
    return 6.0 * torch.nn.functional.one_hot(batch.label_ids, VOCAB).float()


def towards(objective: Objective, batch: PairBatch, noise: torch.Tensor, share: float) -> torch.Tensor:
    """Logits moved by a share to where every label, or every winner's, is likely; losers' rows stay.

    Where activations are watched, they are moved to the subspace aimed at.
    """
    moved = (1 - share) * noise + share * (6.0 * AIM if objective.needs.watch else target_of(batch))
    winner = torch.arange(len(batch)) % batch.group == 0
    return torch.where(winner[:, None, None], moved, noise)


def logits(rows: int = ROWS, labels: int = LABELS, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, labels, VOCAB, generator=torch.Generator().manual_seed(seed))


def outputs(objective: Objective, x: torch.Tensor, batch: PairBatch) -> Outputs:
    """Logits, with whatever frozen runs the objective asks for."""
    frozen = {"target": target_of(batch).to(x.dtype), "reference": logits(len(batch), x.shape[1], 5).to(x.dtype)}
    return given(objective, x, {name: frozen[name] for name in objective.needs.runs}, batch.label_mask)


def given(objective: Objective, x: torch.Tensor, runs: dict, mask: torch.Tensor) -> Outputs:
    """These logits, which double as activations where the objective watches some, and frozen runs."""
    return Outputs(x, runs, watched=tuple(Watched(x, mask) for _ in objective.needs.watch))


def full(rows: int = ROWS, labels: int = LABELS) -> torch.Tensor:
    return torch.ones(rows, labels, dtype=torch.bool)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_scalar_finite_and_differentiable(name):
    objective, x = build(name), logits().requires_grad_()
    batch = suited(objective, full())
    loss = objective(outputs(objective, x, batch), batch)
    assert loss.total.shape == () and torch.isfinite(loss.total) and loss.count in (2, 4, 12)
    assert loss.parts and not any(part.requires_grad for part in loss.parts.values())
    loss.total.backward()
    assert float(x.grad.norm()) > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_lower_when_what_it_wants_is_likelier(name):
    objective, noise = build(name), logits()
    batch = suited(objective, full())
    mixed = [towards(objective, batch, noise, share) for share in (0.0, 0.5, 0.9)]
    losses = [float(objective(outputs(objective, x, batch), batch).total) for x in mixed]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_mean_that_ignores_padding_and_batch_split(name):
    objective = build(name)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    batch, x = suited(objective, mask), logits()
    whole = objective(outputs(objective, x, batch), batch)
    garbage = torch.where(mask[..., None], x, 1e4 * logits(seed=7))
    assert torch.equal(objective(outputs(objective, garbage, batch), batch).total, whole.total)
    total, count, frozen = 0.0, 0, outputs(objective, x, batch).runs
    for rows in ([0, 1], [2, 3]) if batch.group == 2 else ([0], [1, 2], [3]):
        part = given(objective, x[rows], {run: value[rows] for run, value in frozen.items()}, mask[rows])
        loss = objective(part, take(batch, rows))
        total, count = total + float(loss.total) * loss.count, count + loss.count
    assert count == whole.count
    assert total / count == pytest.approx(float(whole.total), rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_maths_in_fp32_under_bf16(name):
    objective = build(name)
    batch = suited(objective, full())
    low = outputs(objective, logits().bfloat16(), batch)
    runs = {run: value.float() for run, value in low.runs.items()}
    high = given(objective, low.logits.float(), runs, batch.label_mask)
    loss = objective(low, batch).total
    assert loss.dtype == torch.float32
    assert torch.equal(loss, objective(high, batch).total)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_gradient_into_frozen_runs(name):
    objective = build(name)
    batch = suited(objective, full())
    known = outputs(objective, logits().requires_grad_(), batch)
    frozen = {run: value.clone().requires_grad_() for run, value in known.runs.items()}
    objective(given(objective, known.logits, frozen, batch.label_mask), batch).total.backward()
    assert all(value.grad is None for value in frozen.values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_stay_finite(name):
    objective, x = build(name), (1e4 * logits()).requires_grad_()
    batch = suited(objective, full())
    frozen = dict.fromkeys(objective.needs.runs, -1e4 * logits(seed=5))
    loss = objective(given(objective, x, frozen, batch.label_mask), batch).total
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_missing_run_is_a_typed_error(name):
    objective = build(name)
    batch = suited(objective, full())
    if objective.needs.runs:
        with pytest.raises(CapabilityError, match="these pairs have none"):
            objective(Outputs(logits()), batch)
    else:
        objective(given(objective, logits(), {}, batch.label_mask), batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_rows_of_another_kind_are_a_typed_error(name):
    objective, plain = build(name), batch_of(full())
    if objective.needs.rows in PREFERENCES:
        with pytest.raises(CapabilityError, match="are no preferences"):
            objective(outputs(objective, logits(), plain), plain)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_factors_are_a_function_of_the_batch(name):
    objective = build(name)
    batch = suited(objective, full(8))
    if isinstance(objective, Factored) and objective.factors(batch) is not None:
        factors = objective.factors(batch)
        assert factors.shape == (8,) and torch.equal(factors, objective.factors(batch))
        up = batch.per_row["direction"] > 0
        assert (factors[up] > 0).all() and (factors[~up] <= 0).all()
    else:
        assert batch.factor is None
