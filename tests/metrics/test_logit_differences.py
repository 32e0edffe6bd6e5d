"""logit(IO) - logit(S): from a task's text to the metrics, and the coefficients that were planted in the logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.errors import CapabilityError
from das.metrics.base import SplitMean
from das.metrics.base_logit_difference import BaseLogitDifference
from das.metrics.logit_difference_error import LogitDifferenceError
from das.models.recipes.base import recipe
from das.objectives.readout_mse import ReadoutMSE
from das.outputs import Outputs
from das.tasks.ioi import IOI
from das.tasks.ioi_logits import LogitDifference, fitted, signs_of
from das.tasks.ioi_model import FLIPS, VARIABLES
from tests.contracts.test_metrics import batch, logits

PLANTED = LogitDifference(0.3, -1.25, 2.5)
N = 64


@pytest.fixture(scope="module")
def tokenizer():
    return recipe("ioi_mini").tokenizer()


def made(tokenizer, variable="output_token", coefficients=None):
    task = IOI((variable,), FLIPS, coefficients=coefficients)
    return PairDataset(task.pairs("test", N, 0), Encoder(tokenizer), [("last", {"source": "last"})], labels=task.labels)


def planted(data, tokenizer, variables, noise=0.0):
    """Logits in which the indirect object leads by the planted model's difference, and other names lead both."""
    x = torch.full((N, 1, len(tokenizer)), 9.0)
    rng = torch.Generator().manual_seed(0)
    for row, pair in enumerate(data.pairs):
        a, b, subject = (pair.base.text[slice(*pair.base.spans[f"name_{n}"][0])] for n in "ABC")
        recipient = tokenizer.convert_tokens_to_ids(b if subject == a else a)
        x[row, 0, tokenizer.convert_tokens_to_ids(subject)] = 1.5
        x[row, 0, recipient] = 1.5 + PLANTED(*signs_of(pair, variables)) + noise * torch.randn((), generator=rng)
    return x


@pytest.mark.parametrize("variable", VARIABLES)
def test_planted_coefficients_are_recovered_from_measured_runs(tokenizer, variable):
    """Whatever variable a pair is about, a full patch moves both."""
    data = made(tokenizer, variable)
    cells = [signs_of(pair) for pair in data.pairs]
    for noise, near in ((0.0, 1e-5), (0.1, 0.05)):
        runs = Outputs(planted(data, tokenizer, VARIABLES, noise))
        measured = BaseLogitDifference()(runs, data.collate(range(N))).tolist()
        found = fitted((t, p, value) for (t, p), value in zip(cells, measured, strict=True))
        assert found.constant == pytest.approx(PLANTED.constant, abs=near)
        assert found.token == pytest.approx(PLANTED.token, abs=near)
        assert found.position == pytest.approx(PLANTED.position, abs=near)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_error_is_0_where_the_interchange_does_what_the_linear_model_says(tokenizer, variable):
    data = made(tokenizer, variable, (PLANTED.constant, PLANTED.token, PLANTED.position))
    rows, means = data.collate(range(N)), SplitMean({"error": LogitDifferenceError()})
    right, other = (planted(data, tokenizer, v) for v in ([variable], [v for v in VARIABLES if v != variable]))
    means.update(Outputs(right), rows)
    assert means.compute()["error"] == pytest.approx(0.0, abs=1e-10)
    trained_towards = ReadoutMSE("value")(Outputs(right), rows).total
    assert float(trained_towards) == pytest.approx(0.0, abs=1e-10)
    wrong = LogitDifferenceError()(Outputs(other), rows)
    expected = [(PLANTED(*signs_of(p, [variable])) - PLANTED(*signs_of(p, {*VARIABLES} - {variable}))) ** 2
                for p in data.pairs]  # fmt: skip
    assert wrong.tolist() == pytest.approx(expected, abs=1e-4) and max(expected) > 5


def test_without_values_there_is_no_error(tokenizer):
    data = made(tokenizer)
    with pytest.raises(CapabilityError, match="without a value"):
        LogitDifferenceError()(Outputs(planted(data, tokenizer, VARIABLES)), data.collate(range(N)))


def test_the_objective_minimises_what_the_metric_reports():
    x, pairs = logits(8, 1), replace(batch(), per_row={"value": torch.linspace(-2.0, 2.0, 8)})
    minimised = float(ReadoutMSE("value")(Outputs(x), pairs).total)
    assert minimised == pytest.approx(float(LogitDifferenceError()(Outputs(x), pairs).mean()), rel=1e-6)


def test_without_a_rival_there_is_no_difference():
    plain = replace(batch(), rival_choice=None)
    for measure in (BaseLogitDifference(), LogitDifferenceError(), ReadoutMSE("value")):
        with pytest.raises(CapabilityError, match="without a rival"):
            measure(Outputs(logits(8, 1)), plain)
