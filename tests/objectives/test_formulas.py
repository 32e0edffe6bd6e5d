"""Every objective against its formula, computed from the logits row by row and token by token in fp64."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.batch import PairBatch
from das.edits.add import Add
from das.edits.zero import Zero
from das.errors import CapabilityError, ConfigError, UnknownChoiceError
from das.factors import Factors
from das.featurizers.direction import Direction
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.objectives.base import Needs, Objective, with_factors
from das.objectives.bipo import BiPO
from das.objectives.cause_isolate import CauseIsolate
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.dpo import DPO
from das.objectives.factor_grid import draw_factors
from das.objectives.jsd import JSD
from das.objectives.lm_loss import LMLoss
from das.objectives.logit_difference import LogitDifferenceLoss
from das.objectives.readout_mse import ReadoutMSE
from das.objectives.representation_target import RepresentationTarget
from das.objectives.reps import RePS
from das.objectives.simpo import SimPO
from das.objectives.split import SPLIT
from das.objectives.weighted_sum import WeightedSum
from das.outputs import Outputs, Watched
from das.types import Site
from tests.contracts.test_objectives import VOCAB, batch_of, logits, suited

ROWS = 8
#: Responses of one, two and three tokens.
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]]).bool()
NOW, BEFORE = logits(ROWS, 3, 1), logits(ROWS, 3, 2)


def token_log_probs(x: Tensor, batch: PairBatch, row: int) -> list[float]:
    """log p of each real token of a row's label."""
    found = []
    for k in range(x.shape[1]):
        if batch.label_mask[row, k]:
            scores = [float(v) for v in x[row, k].double()]
            highest = max(scores)
            total = highest + math.log(sum(math.exp(s - highest) for s in scores))
            found.append(scores[int(batch.label_ids[row, k])] - total)
    return found


def sums(x: Tensor, batch: PairBatch) -> list[float]:
    return [sum(token_log_probs(x, batch, row)) for row in range(len(x))]


def means(x: Tensor, batch: PairBatch) -> list[float]:
    return [fmean(token_log_probs(x, batch, row)) for row in range(len(x))]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def value(objective: Objective, batch: PairBatch, now: Tensor = NOW, before: Tensor = BEFORE) -> float:
    return float(objective(Outputs(now, {"reference": before}), batch).total)


# ---------------------------------------------------------------------------------------------------- likelihood


@pytest.mark.parametrize("objective", [CounterfactualCE(), LMLoss()])
def test_cross_entropy_is_a_mean_over_tokens(objective):
    batch = batch_of(MASK)
    tokens = [lp for row in range(ROWS) for lp in token_log_probs(NOW, batch, row)]
    assert len(tokens) == int(MASK.sum()) == objective(Outputs(NOW), batch).count
    assert value(objective, batch) == pytest.approx(-fmean(tokens), rel=1e-6)
    assert value(objective, batch) != pytest.approx(-fmean(means(NOW, batch)), rel=1e-3), "no mean of rows' means"


def test_cause_and_isolate_are_weighted_apart():
    changed = torch.arange(ROWS) % 3 > 0
    batch = replace(batch_of(MASK), changed=changed)
    loss = CauseIsolate(cause=2.0, isolate=0.5)(Outputs(NOW), batch)
    rows = [[-lp for lp in token_log_probs(NOW, batch, row)] for row in range(ROWS)]
    cause = [x for row, c in zip(rows, changed, strict=True) if c for x in row]
    isolate = [x for row, c in zip(rows, changed, strict=True) if not c for x in row]
    assert float(loss.total) == pytest.approx((2 * sum(cause) + 0.5 * sum(isolate)) / int(MASK.sum()), rel=1e-6)
    assert float(loss.parts["cause"]) == pytest.approx(fmean(cause), rel=1e-6)
    assert float(loss.parts["isolate"]) == pytest.approx(fmean(isolate), rel=1e-6)
    assert value(CauseIsolate(), batch) == pytest.approx(value(CounterfactualCE(), batch))


# ---------------------------------------------------------------------------------------------------- preferences


@pytest.mark.parametrize("objective", [DPO(), BiPO(), DPO(0.7, "preferences")])
def test_preferences_relative_to_a_reference_are_log_2_where_nothing_is_edited(objective):
    batch = suited(objective, MASK)
    assert value(objective, batch, NOW, NOW) == pytest.approx(math.log(2))
    assert value(objective, batch) != pytest.approx(math.log(2), abs=1e-2)


def test_dpo():
    batch, beta = suited(DPO(), MASK), 0.7
    gains = [a - b for a, b in zip(sums(NOW, batch), sums(BEFORE, batch), strict=True)]
    wanted = -fmean(log_sigmoid(beta * (gains[i] - gains[i + 1])) for i in range(0, ROWS, 2))
    assert value(DPO(beta), batch) == pytest.approx(wanted, rel=1e-5)


def test_bipo_turns_winner_and_loser_round_with_the_sign_of_the_vector():
    """The paper's loss -log sigmoid(d beta [gain(concept) - gain(neutral)]), with d drawn, equals ours row by row."""
    batch, beta = suited(BiPO(), MASK), 0.3
    d = batch.per_row["direction"]
    assert torch.equal(batch.factor, d) and set(d.tolist()) == {1.0, -1.0}
    gains = [a - b for a, b in zip(sums(NOW, batch), sums(BEFORE, batch), strict=True)]
    losses = []
    for i in range(0, ROWS, 2):
        winner, loser = gains[i], gains[i + 1]
        concept, neutral = (winner, loser) if d[i] > 0 else (loser, winner)
        losses.append(-log_sigmoid(float(d[i]) * beta * (concept - neutral)))
    assert value(BiPO(beta), batch) == pytest.approx(fmean(losses), rel=1e-5)
    flipped = replace(batch, per_row={"direction": -d})
    assert value(BiPO(beta), flipped) == value(BiPO(beta), batch), "(d, y_w, y_l) -> (-d, y_l, y_w) changes nothing"


def test_simpo_has_a_margin_and_forgets_length():
    batch, beta, gamma = suited(SimPO(), MASK), 1.7, 0.4
    mean = means(NOW, batch)
    wanted = -fmean(log_sigmoid(beta * (mean[i] - mean[i + 1]) - gamma) for i in range(0, ROWS, 2))
    assert value(SimPO(beta, gamma), batch) == pytest.approx(wanted, rel=1e-5)
    uniform = torch.zeros(ROWS, 3, VOCAB)
    assert value(SimPO(beta, gamma), batch, uniform) == pytest.approx(-log_sigmoid(-gamma), rel=1e-6)
    raised = [value(SimPO(beta, g), batch) for g in (0.0, 0.5, 1.0)]
    assert all(a < b for a, b in pairwise(raised)), "a larger margin is harder to meet"


def test_split_is_likelihood_with_a_hinge():
    batch, settings = suited(SPLIT(), MASK), {"positive": 1.0, "negative": 0.5, "gamma": 8.0, "theta": 0.3}
    nll = [-x for x in means(NOW, batch)]
    hinges = [max(0.0, 0.3 - (nll[i + 1] - nll[i])) for i in range(0, ROWS, 2)]
    wanted = fmean(nll[i] + 0.5 * nll[i + 1] + 8.0 * hinges[i // 2] for i in range(0, ROWS, 2))
    loss = SPLIT(**settings)(Outputs(NOW), batch)
    assert float(loss.total) == pytest.approx(wanted, rel=1e-5)
    assert float(loss.parts["hinge"]) == pytest.approx(fmean(hinges), rel=1e-5)
    assert min(hinges) == 0 < max(hinges), "both sides of the hinge are seen"


def test_split_of_two_tokens_is_the_logit_difference():
    """One token per response, a vocabulary of two: L_n - L_p is the logit difference, and no hinge where it is wide."""
    batch = suited(SPLIT(), torch.ones(4, 1, dtype=torch.bool))
    batch = replace(batch, label_ids=torch.tensor([[0], [1]] * 2))
    for gap in (0.1, 0.3, 0.5):
        x = torch.tensor([gap, 0.0]).expand(4, 1, 2)
        parts = SPLIT(theta=0.3)(Outputs(x), batch).parts
        assert float(parts["loser"] - parts["winner"]) == pytest.approx(gap, rel=1e-5)
        assert float(parts["hinge"]) == pytest.approx(max(0.0, 0.3 - gap), abs=1e-6)


def test_reps_is_scaled_where_the_reference_prefers_the_loser():
    batch = suited(RePS(), MASK)
    before, mean = sums(BEFORE, batch), means(NOW, batch)
    scales = [max(before[i + 1] - before[i], 1.0) for i in range(0, ROWS, 2)]
    assert min(scales) == 1.0 < max(scales)
    wanted = -fmean(log_sigmoid(scales[i // 2] * mean[i] - mean[i + 1]) for i in range(0, ROWS, 2))
    assert value(RePS(), batch) == pytest.approx(wanted, rel=1e-5)
    uniform, equally_long = torch.zeros(ROWS, 3, VOCAB), suited(RePS(), MASK | True)
    assert value(RePS(), equally_long, uniform, uniform) == pytest.approx(math.log(2)), "s = 1, equal likelihoods"


def test_the_scale_of_reps_carries_no_gradient():
    batch, x, before = suited(RePS(), MASK), NOW.clone().requires_grad_(), BEFORE.clone().requires_grad_()
    RePS()(Outputs(x, {"reference": before}), batch).total.backward()
    assert before.grad is None and float(x.grad.norm()) > 0


@pytest.mark.parametrize("suppress", ["null", "subtract"])
def test_reps_draws_a_factor_per_response_and_steers_both_ways(suppress):
    objective = RePS(2.0, 20.0, 2.0, suppress)
    rows = 400
    batch = suited(objective, torch.ones(rows, 1, dtype=torch.bool))
    batch = replace(batch, draw=torch.rand(rows, generator=torch.Generator().manual_seed(0)))
    factors, up = objective.factors(batch), batch.per_row["direction"] > 0
    assert set(factors[up].tolist()) == {2.0 * k for k in range(1, 11)}
    assert set(factors[~up].tolist()) == ({0.0} if suppress == "null" else {-2.0 * k for k in range(1, 11)})
    assert (factors[up][0::2] != factors[up][1::2]).any(), "winner and loser draw on their own"


def test_factors_are_uniform_on_their_grid():
    plain = batch_of(torch.ones(1000, 1, dtype=torch.bool))
    batch = replace(plain, draw=(torch.arange(1000) + 0.5) / 1000)
    drawn = draw_factors(batch, 0.5, 2.0, 0.5)
    assert torch.equal(torch.bincount((2 * drawn).long())[1:], torch.full((4,), 250))
    with pytest.raises(CapabilityError, match="random numbers"):
        draw_factors(plain, 0.5, 2.0, 0.5)


# ---------------------------------------------------------------------------------------------------- readouts


def pairs() -> PairBatch:
    return suited(LogitDifferenceLoss(), torch.ones(ROWS, 1, dtype=torch.bool))


def test_logit_difference():
    batch, wanted = pairs(), []
    for row in range(ROWS):
        scores = [float(NOW[row, 0, i]) for i in batch.choices[row]]
        right, base = int(batch.counterfactual_choice[row]), int(batch.base_choice[row])
        rivals = [s for i, s in enumerate(scores) if i != right]
        wanted.append((scores[base] if base != right else max(rivals)) - scores[right])
    loss = LogitDifferenceLoss()(Outputs(NOW), batch)
    assert float(loss.total) == pytest.approx(fmean(wanted), rel=1e-6)
    assert float(loss.parts["logit_difference"]) == pytest.approx(-fmean(wanted), rel=1e-6)


def readout(x: Tensor, batch: PairBatch, row: int) -> float:
    own, rival = (int(batch.choices[row, i[row]]) for i in (batch.base_choice, batch.rival_choice))
    return float(x[row, 0, own] - x[row, 0, rival])


def test_readout_mse_to_the_target_run_or_to_given_values():
    batch, target = pairs(), BEFORE
    errors = [(readout(NOW, batch, row) - readout(target, batch, row)) ** 2 for row in range(ROWS)]
    assert float(ReadoutMSE()(Outputs(NOW, {"target": target}), batch).total) == pytest.approx(fmean(errors), rel=1e-5)
    given = torch.linspace(-1, 1, ROWS)
    errors = [(readout(NOW, batch, row) - float(given[row])) ** 2 for row in range(ROWS)]
    with_values = replace(batch, per_row={"value": given})
    assert float(ReadoutMSE("value")(Outputs(NOW), with_values).total) == pytest.approx(fmean(errors), rel=1e-5)
    with pytest.raises(CapabilityError, match="without a value"):
        ReadoutMSE("value")(Outputs(NOW), batch)
    with pytest.raises(CapabilityError, match=r"'readout_mse'.*without a rival"):
        ReadoutMSE("value")(Outputs(NOW), replace(with_values, rival_choice=None))
    with pytest.raises(UnknownChoiceError, match="target, value"):
        ReadoutMSE("values")


def test_data_or_runs_that_do_not_exist(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # what a user without these checks sees
    with pytest.raises(UnknownChoiceError, match=r"rows of an objective.*'contrats'.*Did you mean 'contrasts'"):
        CounterfactualCE("contrats")
    with pytest.raises(UnknownChoiceError, match=r"frozen run of an objective.*'targets'"):
        Needs(runs=frozenset({"targets"}))


# ---------------------------------------------------------------------------------------------------- sums


def test_a_weighted_sum_is_the_weighted_sum():
    terms: dict[str, Objective] = {"ce": CounterfactualCE("contrasts"), "jsd": JSD()}
    batch, outputs = batch_of(MASK), Outputs(NOW, {"target": BEFORE})
    alone = {name: float(term(outputs, batch).total) for name, term in terms.items()}
    for weights in ({"ce": 0.5, "jsd": 3.0}, {"jsd": 0.0}, {}):
        loss = WeightedSum(terms, weights)(outputs, batch)
        assert float(loss.total) == pytest.approx(sum(weights.get(n, 1.0) * v for n, v in alone.items()), rel=1e-6)
        assert {name: float(part) for name, part in loss.parts.items()} == pytest.approx(alone)
    assert WeightedSum(terms).needs.runs == {"target"}


def test_a_weighted_sum_chooses_the_factors_of_its_term_and_watches_what_any_term_watches():
    objective = WeightedSum({"bipo": BiPO(), "lm": LMLoss("preferences")}, {"lm": 0.1})
    batch = suited(BiPO(), MASK)
    assert torch.equal(objective.factors(batch), batch.per_row["direction"])
    plain = WeightedSum({"inner": WeightedSum({"lm": LMLoss("preferences")}), "bipo": BiPO()})
    assert torch.equal(WeightedSum({"all": plain}).factors(batch), batch.per_row["direction"])
    with pytest.raises(ConfigError, match=r"only one term.*\['all', 'bipo'\]"):
        WeightedSum({"all": plain, "bipo": BiPO()})
    given = replace(batch, factor=torch.ones(len(batch)))
    assert with_factors(WeightedSum({"lm": LMLoss("preferences")}), given) is given
    aims = [aim(positions=p) for p in ("last", "first")]
    watched = WeightedSum({"lm": LMLoss(), "one": aims[0], "two": aims[1]})
    assert watched.needs.watch == (*aims[0].needs.watch, *aims[1].needs.watch)
    h = [Watched(torch.randn(ROWS, 2, WIDTH), MASK[:, :2]) for _ in aims]
    plain = batch_of(MASK)
    alone = [float(a(Outputs(NOW, watched=(x,)), plain).total) for a, x in zip(aims, h, strict=True)]
    whole = float(watched(Outputs(NOW, watched=tuple(h)), plain).total)
    assert whole == pytest.approx(float(LMLoss()(Outputs(NOW), plain).total) + sum(alone), rel=1e-6)


# ---------------------------------------------------------------------------------------------------- activations

WIDTH = 6


def aim(intervention: Intervention | None = None, factors: Factors | None = None, **more: Any) -> RepresentationTarget:
    made = intervention or Intervention(Direction(WIDTH, torch.eye(WIDTH)[1], learned=False), Add(1))
    placed = InterventionSet([(Site(3, positions="span:name"), made)]).frozen()
    return RepresentationTarget(Subspace(placed, ModelCard("m", None, "M", WIDTH, 4, "0"), (factors,)), **more)


def test_the_cosine_to_a_direction():
    batch, mask, h = batch_of(MASK), MASK[:, :2], torch.randn(ROWS, 2, WIDTH)
    outputs = Outputs(NOW, watched=(Watched(h, mask),))
    cosines = (h[..., 1] / h.norm(dim=-1))[mask]
    assert float(aim(value=0.4)(outputs, batch).total) == pytest.approx(
        float((0.4 - cosines).square().mean()), rel=1e-5
    )
    sign = torch.tensor([1.0, -1.0]).repeat(ROWS // 2)[:, None].expand(-1, 2)[mask]
    both = aim(value=0.4, rows="contrasts")(outputs, replace(batch, group=2))
    assert float(both.total) == pytest.approx(float((0.4 * sign - cosines).square().mean()), rel=1e-5)
    assert both.count == int(mask.sum())


def test_its_minimiser_has_exactly_the_cosine_that_was_asked_for():
    h = torch.randn(ROWS, 2, WIDTH, requires_grad=True)
    optimizer = torch.optim.Adam([h], lr=0.05)
    objective, batch = aim(value=-0.6), batch_of(MASK)
    for _ in range(300):
        optimizer.zero_grad()
        objective(Outputs(NOW, watched=(Watched(h, torch.ones(ROWS, 2, dtype=torch.bool)),)), batch).total.backward()
        optimizer.step()
    cosines = (h[..., 1] / h.norm(dim=-1)).detach()
    assert torch.allclose(cosines, torch.full_like(cosines, -0.6), atol=1e-3)


def test_the_probe_is_the_log_odds_of_two_gaussians():
    factors = Factors(
        torch.tensor([1.0, -0.5]), torch.tensor([-0.3, 0.8]), torch.tensor([0.5, 1.0]), torch.tensor([1.5, 2.0]),
        torch.ones(2), ("a", "b"), 4, deviation=0.7,
    )  # fmt: skip
    rotation = Rotation(WIDTH, 2, learned=False)
    objective = aim(Intervention(rotation, Zero()), factors, kind="probe")
    h, batch = torch.randn(ROWS, 2, WIDTH), batch_of(MASK)
    line = torch.nn.functional.normalize(factors.positive - factors.negative, dim=0)
    z = h @ rotation.basis.detach() @ line
    odds = sum(
        sign * torch.distributions.Normal(mean @ line, 0.7).log_prob(z)
        for sign, mean in ((1, factors.positive), (-1, factors.negative))
    )
    wanted = -torch.nn.functional.logsigmoid(odds)[MASK[:, :2]].mean()
    got = objective(Outputs(NOW, watched=(Watched(h, MASK[:, :2]),)), batch).total
    assert float(got) == pytest.approx(float(wanted), rel=1e-5)


def test_what_cannot_be_aimed_at():
    neurons = Intervention(Identity(WIDTH), Add(WIDTH))
    plane = Intervention(Rotation(WIDTH, 2, learned=False), Zero())
    for made in (neurons, plane):
        with pytest.raises(CapabilityError, match="single direction"):
            aim(made)
    with pytest.raises(CapabilityError, match="where the concept's two values lie"):
        aim(kind="probe")
    with pytest.raises(ConfigError, match=r"objective\.subspace"):
        RepresentationTarget()
    with pytest.raises(UnknownChoiceError, match="pairs"):
        aim(rows="pairs")
    wide = Outputs(NOW, watched=(Watched(torch.randn(ROWS, 2, WIDTH + 1), MASK[:, :2]),))
    with pytest.raises(CapabilityError, match="another width"):
        aim()(wide, batch_of(MASK))


def test_where_it_watches():
    assert aim().needs.watch == (Site(3, positions="last"),)
    assert aim(layer=5, positions="all").needs.watch == (Site(5, positions="all"),)
