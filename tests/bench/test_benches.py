"""Benchmarks are found by their files, and a gate says exactly whether its bar held."""

from __future__ import annotations

import math

import pytest
import torch

from das.bench.base import Bench, Gate, bench, names
from das.bench.vectors import Vectors
from das.errors import InputError, UnknownChoiceError
from das.methods.full_vector import full_vector
from das.methods.random_subspace import random_subspace


@pytest.mark.parametrize(
    ("value", "bar", "held"),
    [
        (0.98, ">= 0.98", True), (0.979, ">= 0.98", False), (0.05, "<= 0.05", True), (0.06, "<= 0.05", False),
        (0.0, "== 0", True), (1e-9, "== 0", False), (0.5, ">= 0.45, <= 0.55", True), (0.4, ">= 0.45, <= 0.55", False),
        (0.6, ">= 0.45, <= 0.55", False), (math.nan, ">= 0", False), (math.nan, "<= 0", False), (0.3, "", None),
    ],
)  # fmt: skip
def test_a_bar_holds_or_does_not(value, bar, held):
    assert Gate("x", value, bar).held is held


@pytest.mark.parametrize("bar", ["0.9", "> 0.9", ">= high", ">= 0.1,"])
def test_what_is_no_bar_is_refused(bar):
    with pytest.raises(InputError, match="no bar"):
        Gate("x", 1.0, bar)


@pytest.mark.parametrize("name", names())
def test_every_benchmark_has_a_title(name):
    assert isinstance(bench(name), Bench) and bench(name).title


def test_an_unknown_benchmark_is_a_typed_error():
    with pytest.raises(UnknownChoiceError, match="illusion"):
        bench("ilusion")


def test_the_illusion_is_exact():
    for seed in (0, 1):
        gates = bench("illusion").run(seed)
        assert all(gate.held for gate in gates if gate.bar), gates
        values = {gate.name: gate.value for gate in gates}
        assert values["illusory: FLDD, changed pairs"] == pytest.approx(3.0, abs=1e-3)
        assert values["illusory, part that W_out reads: IIA, changed pairs"] == 0.0
        assert values["illusory: IIA"] == values["true: IIA"] == 1.0


def test_vectors_are_measured_like_language_models():
    base, source = torch.eye(4)[[0, 1, 2]], torch.eye(4)[[0, 2, 3]]
    pairs = Vectors(base, {"source": source}, lambda h: h, base.argmax(1), source.argmax(1))
    swapped, left = pairs.measure(full_vector(4)), pairs.measure(random_subspace(4, 1))
    assert swapped["iia"] == 1 and swapped["fldd_changed"] == 2
    assert left["iia_unchanged"] == 1 and 0 < left["fldd_changed"] < 2
