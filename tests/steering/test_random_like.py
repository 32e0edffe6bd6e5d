"""The control of steering: random directions that are like the learned ones in everything else."""

from __future__ import annotations

import pytest
import torch

from das.errors import CapabilityError
from das.interventions.sets import InterventionSet
from das.methods import method
from das.methods.diff_means import shift
from das.steering.random_like import random_like
from das.types import Site

WIDTH = 64
SITES = [Site(0, positions="all"), Site(1, positions="last")]


@pytest.mark.parametrize("name", ["das", "cdas", "random_subspace"])
def test_random_directions_in_the_same_places(name: str) -> None:
    learned = InterventionSet([(site, method(name, rank=3)(WIDTH)) for site in SITES])
    drawn = random_like(learned)
    assert drawn.placements == learned.placements and not drawn.learned
    for old, new in zip(learned, drawn, strict=True):
        r = new.featurizer.basis
        assert (r.T @ r - torch.eye(3)).abs().max() < 1e-6
        assert torch.linalg.svdvals(old.featurizer.basis.T @ r).max() < 0.7
        assert new.operations == old.operations
    first, second = (x.featurizer.basis for x in drawn)
    assert torch.linalg.svdvals(first.T @ second).max() < 0.7
    assert torch.equal(random_like(learned)[0].featurizer.basis, first)
    assert not torch.equal(random_like(learned, seed=1)[0].featurizer.basis, first)


def test_tied_sites_share_their_directions() -> None:
    one = method("das", rank=2)(WIDTH)
    drawn = random_like(InterventionSet([(site, one) for site in SITES]))
    assert len(drawn.interventions) == 1 and drawn[0] is drawn[1]


def test_what_is_added_keeps_its_length() -> None:
    h = torch.randn(2, 3, WIDTH)
    difference = torch.randn(WIDTH) * 5
    vector = method("steering_vector", scale=7.0)(WIDTH)
    for learned in (shift(difference, torch.zeros(WIDTH), 1.0, "caa"), vector):
        [drawn] = random_like(InterventionSet([(SITES[0], learned)]))
        there, beside = (x(h).activation - h for x in (learned, drawn))
        assert there.norm(dim=-1).allclose(beside.norm(dim=-1), rtol=1e-5)
        assert torch.cosine_similarity(there, beside, dim=-1).abs().max() < 0.5


@pytest.mark.parametrize(("name", "settings"), [("loreft", {"rank": 2}), ("full_vector", {}), ("noreft", {"rank": 2})])
def test_what_has_no_random_counterpart(name: str, settings: dict[str, int]) -> None:
    learned = InterventionSet([(SITES[0], method(name, **settings)(WIDTH))])
    with pytest.raises(CapabilityError, match="random directions"):
        random_like(learned)
