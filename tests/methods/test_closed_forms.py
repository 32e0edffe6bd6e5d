"""The numeric checks of closed-form methods: each against its formula and against what it must beat."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from das.context import Context
from das.errors import EmptySplitError, InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.estimators.logistic import fit_probe
from das.estimators.moments import Moments, one_hot
from das.interventions.base import Intervention
from das.methods.ace import Ace
from das.methods.actadd import Actadd
from das.methods.caa import Caa
from das.methods.diff_means import DiffMeans
from das.methods.inlp import Inlp
from das.methods.lat import Lat
from das.methods.leace import Leace
from das.methods.mimic import Mimic
from das.methods.mimic_mean import MimicMean
from das.methods.orth import Orth
from das.methods.pca import Pca
from das.methods.persona import Persona
from das.methods.probe import Probe
from das.methods.rlace import Rlace, fantope

WIDTH, N = 10, 600


def gaussians(seed: int = 0, n: int = N, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Anisotropic, correlated Gaussians that differ in mean and covariance; fp64."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % classes
    mix = torch.randn(WIDTH, WIDTH, generator=g, dtype=torch.float64)
    means = 2.0 * torch.randn(classes, WIDTH, generator=g, dtype=torch.float64)
    scale = 0.5 + torch.rand(classes, WIDTH, generator=g, dtype=torch.float64)
    return torch.randn(n, WIDTH, generator=g, dtype=torch.float64) * scale[label] @ mix + means[label], label


def examples(seed: int = 0, n: int = N) -> Examples:
    return Examples.of(*gaussians(seed, n))


def edit(method: Intervention, x: Tensor, factor: float | None = None) -> Tensor:
    """Rows of activations, edited in fp64."""
    rows = None if factor is None else torch.full((len(x),), factor, dtype=torch.float64)
    return method.double()(x[:, None].double(), None, Context(factor=rows)).activation[:, 0]


def cross_covariance(x: Tensor, label: Tensor) -> Tensor:
    z = one_hot(label, tuple(label.unique().tolist()))
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


#: Those that find a direction along which the values' means differ.
DIRECTIONS = (DiffMeans(), MimicMean(), Persona(), Caa(), Ace(), Lat(), Probe())

# ---------------------------------------------------------------------------------------------- added directions


@pytest.mark.parametrize("estimator", [DiffMeans(), MimicMean(), Persona(), Caa()])
def test_the_difference_of_the_means_is_added(estimator):
    e = examples()
    difference = (e.side(POSITIVE).mean(0) - e.side(NEGATIVE).mean(0)).double()
    for factor in (1.0, -2.5):
        moved = edit(estimator.fit(e), e.x, factor) - e.x
        assert torch.allclose(moved, (factor * difference).expand_as(moved), atol=1e-5)


def test_diff_means_weighs_tokens_and_persona_prompts():
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [8.0, 0.0], [0.0, 0.0]])
    e = Examples(
        x, torch.tensor([1, 1, 1, 0]), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 0]), torch.zeros(4).long()
    )
    assert edit(DiffMeans().fit(e), x)[0, 0] == pytest.approx(1.0 + 4.0)
    assert edit(Persona().fit(e), x)[0, 0] == pytest.approx(1.0 + 5.0)


def test_equal_means_have_no_direction():
    x = torch.cat([torch.ones(3, 4), torch.ones(3, 4)])
    for estimator in DIRECTIONS:
        with pytest.raises(InputError, match="has no direction"):
            estimator.fit(Examples.of(x, torch.tensor([0, 0, 0, 1, 1, 1])))
    with pytest.raises(EmptySplitError):
        DiffMeans().fit(Examples.of(x, torch.ones(6).long()))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_a_difference_is_measured_beside_the_activations(seed, size):
    """fp32 rounding of large activations is no direction to add, to erase or to project out; 1e-3 of their size is."""
    g = torch.Generator().manual_seed(seed)
    row, label = 10 * torch.randn(WIDTH, generator=g, dtype=torch.float64), torch.arange(200) % 2
    noise = torch.randn(200, WIDTH, generator=g, dtype=torch.float64)
    for share, told in ((1e-7, False), (1e-3, True)):
        e = Examples.of(size * (row + row.abs() * share * (noise + label[:, None])), label)
        for estimator in (*DIRECTIONS, Leace(), Orth(), Inlp(rank=1), Rlace(steps=1), Pca(), Mimic()):
            if told:
                assert estimator.fit(e).rank >= 1
            else:
                with pytest.raises(InputError):
                    estimator.fit(e)


def test_lat_finds_the_axis_of_the_differences_and_its_sign():
    g = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(WIDTH, generator=g), dim=0)
    neutral = torch.randn(200, WIDTH, generator=g)
    concept = (
        neutral + (1.0 + 0.3 * torch.randn(200, 1, generator=g)) * axis + 0.05 * torch.randn(200, WIDTH, generator=g)
    )
    e = Examples.of(torch.cat([neutral, concept]), torch.arange(400) // 200)
    assert float(Lat().fit(e).featurizer.vector @ axis) > 0.99
    flipped = e.relabelled(1 - e.label)
    assert float(Lat().fit(flipped).featurizer.vector @ axis) < -0.99


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_probe_is_the_optimum_and_beats_the_means_under_correlated_noise(seed):
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(2000) % 2
    x = torch.randn(2000, 2, generator=g, dtype=torch.float64)
    noise = 6.0 * torch.randn(2000, generator=g, dtype=torch.float64)
    x = torch.stack([x[:, 0] * 0.3 + 2.0 * label + noise, noise + 0.01 * x[:, 1]], 1)
    probe = fit_probe(x, label == 1)
    assert probe.accuracy(x, label == 1) > 0.99
    means = x[label == 1].mean(0) - x[label == 0].mean(0)
    middle = (x[label == 1].mean(0) + x[label == 0].mean(0)) / 2 @ means
    assert float((((x @ means) > middle) == (label == 1)).double().mean()) < 0.9, "negative control"
    w = probe.weight.clone().requires_grad_()
    sign = 2.0 * label - 1.0
    ridge = 0.5e-3 * x.var(0, unbiased=False).mean() * w.square().sum()
    loss = torch.nn.functional.softplus(-sign * (x @ w + probe.bias)).mean() + ridge
    loss.backward()
    assert float(w.grad.abs().max()) < 1e-5
    v = Probe().fit(Examples.of(x, label)).featurizer.vector.double()
    assert abs(float(v @ probe.weight / probe.weight.norm())) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [1e-3, 1e-5, 0.0])
def test_a_neuron_that_hardly_varies_does_not_capture_the_probe(seed, spread):
    """A factor of one shifts the concept by the distance of its means, whatever other neurons do."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(2000) % 2
    x = torch.randn(2000, 16, generator=g)
    x[:, 0] += 2 * label
    x[:, 3] = 5 + spread * x[:, 3]
    moved = edit(Probe().fit(Examples.of(x, label)), x, 1.0) - x
    assert float(moved[:, 0].mean()) == pytest.approx(2, abs=0.2)


def test_pca_spans_the_largest_variance():
    x, label = gaussians(1)
    basis = Pca(3).fit(Examples.of(x, label)).featurizer.basis.double()
    centred = x - x.mean(0)
    explained = (centred @ basis).square().sum()
    values = torch.linalg.eigvalsh(centred.T @ centred)
    assert float(explained / values[-3:].sum()) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(InputError, match="too many principal directions"):
        Pca(WIDTH).fit(Examples.of(x, label))
    line = Examples.of(torch.stack([x[0], x[0] + 1]).repeat(10, 1), torch.arange(20) % 2)
    assert torch.allclose(Pca(1).fit(line).featurizer.basis.abs(), torch.full((WIDTH, 1), WIDTH**-0.5))
    with pytest.raises(InputError, match="rank 2 of 1 at most"):
        Pca(2).fit(line)


def test_actadd_takes_the_first_contrast_with_both_sides_that_differ():
    x, label, rows = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 1, 0]), torch.arange(3)
    e = Examples(x, label, rows, torch.tensor([0, 1, 1]), torch.zeros(3).long())
    assert Actadd().fit(e).edit.value.tolist() == [[-2.0, -2.0]]
    with pytest.raises(EmptySplitError, match="no contrast has both"):
        Actadd().fit(replace(e, pair=rows))
    with pytest.raises(InputError, match="has no direction"):
        Actadd().fit(replace(e, x=torch.ones(3, 2)))


def test_actadd_adds_position_by_position():
    x = torch.arange(12.0).reshape(6, 2)
    e = Examples(
        x,
        torch.tensor([1, 1, 1, 0, 0, 0]),
        torch.tensor([0, 0, 0, 1, 1, 1]),
        torch.zeros(6).long(),
        torch.tensor([1, 2, 3, 1, 2, 4]),
    )
    method = Actadd(coefficient=2.0).fit(e)
    h, where = torch.zeros(1, 4, 2), torch.tensor([[0, 1, 2, 3]])
    added = method(h, None, Context(position_ids=where)).activation[0]
    assert added.tolist() == [[0.0, 0.0], [-12.0, -12.0], [-12.0, -12.0], [0.0, 0.0]]
    moved = method(h, None, Context(position_ids=where + 1, factor=torch.tensor([-1.0]))).activation[0]
    assert moved.tolist() == [[12.0, 12.0], [12.0, 12.0], [0.0, 0.0], [0.0, 0.0]]


# ------------------------------------------------------------------------------------------------------- ACE


def test_ace_puts_the_concept_where_the_class_means_are_whatever_it_was():
    e = examples()
    positive, negative = e.means()
    method = Ace().fit(e)
    r = (positive - negative) / (positive - negative).norm()
    for factor, mean in ((0.0, negative), (1.0, positive), (0.5, (positive + negative) / 2)):
        edited = edit(method, e.x, factor)
        assert torch.allclose(edited @ r, (r @ mean).expand(len(edited)), atol=1e-5)
        along = r[:, None] * r[None]
        rest = torch.eye(WIDTH, dtype=torch.float64) - along
        assert torch.allclose(edited @ rest, e.x @ rest, atol=1e-5), "what is orthogonal stays"


def test_ablation_and_caa_are_special_cases_of_ace():
    e = examples()
    positive, negative = e.means()
    r = positive - negative
    unit = r / r.norm()
    x = e.x
    full = edit(Ace().fit(e), x, 1.0)
    by_hand = x - (x @ unit)[:, None] * unit + (negative @ unit) * unit + r
    assert torch.allclose(full, by_hand, atol=1e-5)


# ----------------------------------------------------------------------------------------------------- erasure


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("constrain", [True, False])
def test_leace_leaves_no_covariance_and_distorts_less_than_orthogonal_erasure(classes, constrain):
    x, label = gaussians(2, classes=classes)
    moments = Moments(WIDTH, 1 if classes == 2 else classes)
    moments.update(x, one_hot(label, tuple(range(classes))))
    left, right = Leace(shrinkage=False, svd_tolerance=1e-9, constrain_trace=constrain).projection(moments)
    assert left.shape == (WIDTH, classes - 1)
    p = left @ right.T
    erased = x - (x - moments.mean_x) @ p.T
    assert float(cross_covariance(x, label).abs().max()) > 0.1, "negative control"
    assert float(cross_covariance(erased, label).abs().max()) <= 1e-10
    assert torch.allclose(p @ p, p, atol=1e-10) and torch.allclose(
        right.T @ left, torch.eye(classes - 1).double(), atol=1e-10
    )
    u = torch.linalg.svd(moments.cov_xz, full_matrices=False).U[:, : classes - 1]
    orthogonal = x - (x - moments.mean_x) @ u @ u.T
    assert float(cross_covariance(orthogonal, label).abs().max()) <= 1e-10
    assert float((erased - x).square().sum()) < float((orthogonal - x).square().sum())
    if constrain:
        after = (erased - erased.mean(0)).square().sum()
        assert float(after) <= float((x - x.mean(0)).square().sum()) * (1 + 1e-9)


def test_no_probe_finds_what_leace_and_orth_erased():
    x, label = gaussians(4, 2000)
    for estimator in (Leace(), Orth()):
        erased = edit(estimator.fit(Examples.of(x, label)), x)
        assert fit_probe(x, label == 1).accuracy(x, label == 1) > 0.9, "negative control"
        assert fit_probe(erased, label == 1).accuracy(erased, label == 1) < 0.53


def test_leace_streams():
    x, label = gaussians(5)
    whole = Leace().fit(Examples.of(x, label))
    moments = Moments(WIDTH, 1)
    for part in torch.arange(N).split(64):
        moments.update(x[part], one_hot(label[part], (0, 1)))
    streamed = Leace().fit_moments(moments)
    assert torch.allclose(edit(whole, x), edit(streamed, x), atol=1e-5)


def test_there_may_be_nothing_to_erase():
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    label = torch.arange(400) % 2
    x = x - torch.where(label[:, None] == 1, x[label == 1].mean(0), x[label == 0].mean(0))
    for estimator in (Leace(), Orth()):
        with pytest.raises(InputError, match="nothing to erase"):
            estimator.fit(Examples.of(x.double(), label))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("estimator", [Inlp(rank=6), Rlace(steps=300)])
def test_iterative_erasure_projects_out_what_probes_find(estimator, offset, seed):
    """Of values that differ along one axis, wherever the mean of the activations lies."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(1000) % 2
    x = torch.randn(1000, WIDTH, generator=g, dtype=torch.float64) + offset
    x[:, 0] += 3.0 * label
    method = estimator.fit(Examples.of(x, label))
    basis = method.featurizer.basis.double()
    p = torch.eye(WIDTH, dtype=torch.float64) - basis @ basis.T
    assert torch.linalg.matrix_rank(torch.eye(WIDTH, dtype=torch.float64) - p, atol=1e-4) == basis.shape[1]
    assert torch.allclose(p @ p, p, atol=1e-6), "idempotent"
    erased = edit(method, x)
    assert torch.allclose(erased, x @ p, atol=1e-4)
    assert float(basis[0].norm()) > 0.95, "the axis is among what is erased"
    before, after = (fit_probe(v, label == 1).accuracy(v, label == 1) for v in (x, erased))
    assert before > 0.9 and after < 0.6


def test_rlace_says_when_it_did_not_erase(caplog):
    x, label = gaussians(0, 400)
    Rlace(steps=1).fit(Examples.of(x, label))
    assert "still beats the majority" in caplog.text
    caplog.clear()
    Rlace(rank=8, steps=400, tolerance=0.2).fit(Examples.of(x, label))
    assert not caplog.text


def test_inlp_stops_when_nothing_is_left():
    g = torch.Generator().manual_seed(0)
    label = torch.arange(1000) % 2
    x = torch.randn(1000, WIDTH, generator=g, dtype=torch.float64)
    x[:, 0] += 4.0 * label
    assert Inlp(rank=9, margin=0.06).fit(Examples.of(x, label)).rank < 5
    assert Inlp(rank=4, margin=-1.0).fit(Examples.of(x, label)).rank == 4


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_inlp_finds_no_directions_in_rounding(seed, offset):
    """Activations of two dimensions in 32, however far from the origin, hold two directions at most."""
    g = torch.Generator().manual_seed(seed)
    plane = torch.linalg.qr(torch.randn(32, 2, generator=g))[0]
    inside = torch.randn(400, 2, generator=g)
    x, label = inside @ plane.T + offset, (inside[:, 0] > 0).long()
    basis = Inlp(margin=-1.0).fit(Examples.of(x, label)).featurizer.basis
    assert basis.shape[1] <= 2 and torch.allclose(plane @ (plane.T @ basis), basis, atol=1e-3)
    with pytest.raises(InputError, match="nothing to erase"):
        Inlp(rank=1, margin=0.1).fit(Examples.of(torch.randn(2000, 4, generator=g), torch.arange(2000) % 2))


@pytest.mark.parametrize("rank", [1, 3])
def test_the_fantope_projection(rank):
    a = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))
    p = fantope(a, rank)
    values = torch.linalg.eigvalsh(p)
    assert float(values.sum()) == pytest.approx(rank, abs=1e-9)
    assert float(values.min()) >= -1e-9 and float(values.max()) <= 1 + 1e-9
    assert torch.allclose(fantope(p, rank), p, atol=1e-9), "a projection"
    symmetric = (a + a.T) / 2
    for seed in range(20):
        other = fantope(
            torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + seed)), rank
        )
        assert float((symmetric - p).norm()) <= float((symmetric - other).norm()) + 1e-9, "the nearest one"


# ------------------------------------------------------------------------------------------------------ MiMiC


def test_mimic_maps_mean_and_covariance():
    x, label = gaussians(8, 4000)
    e = Examples.of(x, label)
    a, bias = Mimic(shrinkage=False).transport(Examples(x, label, e.prompt, e.pair, e.position))
    source, target = x[label == 0], x[label == 1]
    moved = source @ a.T + bias
    covariances = [(v - v.mean(0)).T @ (v - v.mean(0)) / len(v) for v in (moved, target, source)]
    assert torch.allclose(moved.mean(0), target.mean(0), atol=1e-10)
    assert float((covariances[0] - covariances[1]).norm() / covariances[1].norm()) < 1e-10
    assert float((covariances[2] - covariances[1]).norm() / covariances[1].norm()) > 0.1, "negative control"
    assert torch.allclose(a, a.T, atol=1e-8) and float(torch.linalg.eigvalsh(a).min()) > 0, "optimal transport"
    edited = edit(Mimic(shrinkage=False).fit(Examples.of(x, label)), source)
    assert torch.allclose(edited, moved, atol=1e-3)
    mean_only = edit(MimicMean().fit(Examples.of(x, label)), source, 1.0)
    assert torch.allclose(mean_only.mean(0), target.mean(0), atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("rows", [4, 32, 256])
def test_mimic_leaves_unseen_activations_at_their_size(seed, rows):
    """Fewer rows per value than dimensions do not make a map that blows up what it was not fitted on."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(2 * rows) % 2
    x = torch.randn(2 * rows, 64, generator=g) + label[:, None]
    unseen = torch.randn(500, 64, generator=g)
    method = Mimic().fit(Examples.of(x, label))
    # the target's size, and the error of both means
    wanted = (64 * (1 + 1 + 2 / rows)) ** 0.5
    assert float(edit(method, unseen).norm(dim=1).mean()) == pytest.approx(wanted, rel=0.15)
    with pytest.raises(InputError, match="no covariance"):
        Mimic().fit(Examples.of(x[:2], label[:2]))
