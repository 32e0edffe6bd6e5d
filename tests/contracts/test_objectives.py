"""What every objective promises, checked for every yaml in conf/objective."""

from __future__ import annotations

import pytest
import torch

from das.batch import PairBatch, Positions, TokenBatch
from das.errors import CapabilityError
from das.outputs import Outputs
from tests.contracts.groups import made, names

OBJECTIVES = names("objective")
VOCAB = 11


def batch_of(mask: torch.Tensor, seed: int = 0) -> PairBatch:
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


def outputs(objective, x: torch.Tensor, target: torch.Tensor) -> Outputs:
    """Logits, with whatever frozen runs the objective asks for."""
    return Outputs(x, dict.fromkeys(objective.needs.runs, target))


def target_of(batch: PairBatch) -> torch.Tensor:
    """A counterfactual distribution that is sure of the label."""
    return 6.0 * torch.nn.functional.one_hot(batch.label_ids, VOCAB).float()


def logits(rows: int, labels: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, labels, VOCAB, generator=torch.Generator().manual_seed(seed))


def full(rows: int = 4, labels: int = 3) -> torch.Tensor:
    return torch.ones(rows, labels, dtype=torch.bool)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_scalar_finite_and_differentiable(name):
    batch, x = batch_of(full()), logits(4, 3).requires_grad_()
    objective = made("objective", name)
    loss = objective(outputs(objective, x, target_of(batch)), batch)
    assert loss.total.shape == () and torch.isfinite(loss.total) and loss.count == 12
    loss.total.backward()
    assert float(x.grad.norm()) > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_lower_when_the_counterfactual_is_likelier(name):
    batch, objective = batch_of(full()), made("objective", name)
    target, noise = target_of(batch), logits(4, 3)
    mixed = [(1 - t) * noise + t * target for t in (0.0, 0.5, 0.9)]
    losses = [float(objective(outputs(objective, x, target), batch).total) for x in mixed]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_token_weighted_mean_ignores_padding_and_batch_split(name):
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    batch, objective, x = batch_of(mask), made("objective", name), logits(4, 3)
    target = target_of(batch)
    whole = objective(outputs(objective, x, target), batch)
    garbage = torch.where(mask[..., None], x, 1e4 * logits(4, 3, seed=7))
    assert torch.equal(objective(outputs(objective, garbage, target), batch).total, whole.total)
    total, tokens = 0.0, 0
    for rows in ([0], [1, 2], [3]):
        part = batch_of(mask[rows])
        part = PairBatch(**{**vars(part), "label_ids": batch.label_ids[rows]})
        loss = objective(outputs(objective, x[rows], target[rows]), part)
        total, tokens = total + float(loss.total) * loss.count, tokens + loss.count
    assert tokens == whole.count == 7
    assert total / tokens == pytest.approx(float(whole.total), rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_maths_in_fp32_under_bf16(name):
    batch = batch_of(full())
    x, target = logits(4, 3).bfloat16(), target_of(batch).bfloat16()
    objective = made("objective", name)
    low = objective(outputs(objective, x, target), batch).total
    assert low.dtype == torch.float32
    assert torch.equal(low, objective(outputs(objective, x.float(), target.float()), batch).total)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_gradient_into_the_target(name):
    batch = batch_of(full())
    target = target_of(batch).requires_grad_()
    objective = made("objective", name)
    objective(outputs(objective, logits(4, 3).requires_grad_(), target), batch).total.backward()
    assert target.grad is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_stay_finite(name):
    batch = batch_of(full())
    x = (1e4 * logits(4, 3)).requires_grad_()
    objective = made("objective", name)
    loss = objective(outputs(objective, x, -1e4 * logits(4, 3, seed=5)), batch).total
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_missing_run_is_a_typed_error(name):
    objective, batch = made("objective", name), batch_of(full())
    if objective.needs.runs:
        with pytest.raises(CapabilityError, match="counterfactual_ce"):
            objective(Outputs(logits(4, 3)), batch)
    else:
        objective(Outputs(logits(4, 3)), batch)
