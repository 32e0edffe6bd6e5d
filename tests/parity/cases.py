"""The interventions that both sides have: how to make theirs, how to make ours, and which parameters correspond."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from das.edits.add import Add
from das.edits.clamp import Clamp
from das.edits.swap import Swap
from das.edits.zero import Zero
from das.featurizers.identity import Identity
from das.featurizers.oblique import Oblique
from das.featurizers.rotation import Rotation
from das.gates.subset import Subset
from das.geometry import random_orthonormal
from das.interventions.base import Intervention
from das.methods import method
from tests.parity.peer import pv, reft

RANK = 3
#: Coordinates that are exchanged where not all are.
SOME = (0, 2, 3)
#: Share of training at which annealed masks are compared, and their temperature there.
PROGRESS, TEMPERATURE = 0.5, 2.0
_ANNEALED = {"start": 3.0, "end": 1.0}


@dataclass(frozen=True)
class Case:
    """One intervention.

    Attributes:
        theirs, ours: from the width of the activation.
        same: our parameter -> theirs. Values are copied to us, and gradients compared.
        subspaces: coordinates that pyvene is told to exchange; None for its default.
        positions: whether pyvene can run it where positions or heads have an axis of their own.
    """

    theirs: Callable[[int], Any]
    ours: Callable[[int], Intervention]
    same: Mapping[str, str] = field(default_factory=dict)
    subspaces: tuple[int, ...] | None = None
    positions: bool = True

    def pair(self, width: int, several: bool = False) -> tuple[Any, Intervention]:
        """Both, with the same numbers in them; for several positions pyvene has to be told to share."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(width)
            theirs, ours = self.theirs(width), self.ours(width)
        theirs.keep_last_dim |= several
        with torch.no_grad():
            for mine, other in self.same.items():
                parameter, value = ours.get_parameter(mine), lookup(theirs, other)
                parameter.copy_(value[..., : parameter.shape[-1]] if parameter.ndim else value[0])
        return theirs, ours

    def per_row(self, rows: int) -> list[list[int]] | None:
        """pyvene's subspaces, one list per row."""
        return None if self.subspaces is None else [list(self.subspaces)] * rows


def lookup(module: Any, path: str) -> Any:
    """The attribute at a dotted path."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


@cache
def pair(name: str, width: int, several: bool = False) -> tuple[Any, Intervention]:
    """Both of a case; making theirs takes longer than running them."""
    return CASES[name].pair(width, several)


@contextmanager
def differentiable(*theirs: Any) -> Iterator[None]:
    """Keep the gradient with respect to their rotations, which they only parametrise."""
    with parametrize.cached():
        for one in theirs:
            if hasattr(one, "rotate_layer"):
                one.rotate_layer.weight.retain_grad()
        yield


def gradients(case: Case, theirs: nn.Module, ours: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, their gradient, ours) after both losses went backward; call it inside `differentiable`.

    Gradients of a rotation are compared along the manifold: off it, the two sides are different functions.
    """
    for mine, other in case.same.items():
        parameter, wanted = ours.get_parameter(mine), lookup(theirs, other)
        got = parameter.grad
        if other == "rotate_layer.weight":
            rotation = wanted.detach()
            got = torch.cat([got, got.new_zeros(len(got), rotation.shape[1] - got.shape[1])], 1)
            yield mine, tangent(rotation, wanted.grad), tangent(rotation, got)
        else:
            yield mine, wanted.grad.reshape(got.shape), got


def tangent(rotation: Tensor, gradient: Tensor) -> Tensor:
    """The part of a gradient along the Stiefel manifold."""
    inner = rotation.T @ gradient
    return gradient - rotation @ (inner + inner.T) / 2


def constant(width: int) -> Tensor:
    """The same vector for both."""
    return torch.randn(width, generator=torch.Generator().manual_seed(width))


def principal(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """All principal directions as rows, mean and standard deviation, of imagined activations."""
    generator = torch.Generator().manual_seed(width)
    spread = 0.5 + torch.rand(width, generator=generator)
    return random_orthonormal(width, width, generator).T, torch.randn(width, generator=generator), spread


def _pyvene(name: str, **settings: Any) -> Callable[[int], Any]:
    return lambda width: getattr(pv, f"{name}Intervention")(embed_dim=width, **settings)


def _with_constant(name: str) -> Callable[[int], Any]:
    return lambda width: _pyvene(name, source_representation=constant(width))(width)


def _pyreft(name: str, **settings: Any) -> Callable[[int], Any]:
    cls = getattr(reft, f"{name}Intervention")
    return lambda width: cls(embed_dim=width, low_rank_dimension=RANK, dtype=torch.float32, **settings)


def _rotated(width: int) -> Any:
    made = pv.RotatedSpaceIntervention(embed_dim=width)
    made.set_interchange_dim(RANK)
    return made


def _boundless(width: int) -> Any:
    made = pv.BoundlessRotatedSpaceIntervention(embed_dim=width)
    made.set_temperature(torch.tensor(TEMPERATURE))
    made.set_intervention_boundaries(0.4)
    return made


def _masked(name: str, mask: str) -> Callable[[int], Any]:
    def make(width: int) -> Any:
        made = _pyvene(name)(width)
        made.set_temperature(torch.tensor(TEMPERATURE))
        getattr(made, mask).data = 2 * constant(width)
        return made

    return make


def _pca(width: int) -> Any:
    rows, mean, spread = (x.numpy() for x in principal(width))
    return pv.PCARotatedSpaceIntervention(
        embed_dim=width, pca=SimpleNamespace(components_=rows), pca_mean=mean, pca_std=spread
    )


def _oblique(width: int) -> Intervention:
    rows, _, spread = principal(width)
    top = rows[:RANK].T
    return Intervention(Oblique(width, RANK, right=top / spread[:, None], left=top * spread[:, None]), Swap())


def _method(name: str, **settings: Any) -> Callable[[int], Intervention]:
    return lambda width: method(name, **settings)(width=width)


_R, _W = {"featurizer.weight": "rotate_layer.weight"}, {"featurizer.weight": "proj_layer.weight"}
_AFFINE = {"edit.weight": "learned_source.weight", "edit.bias": "learned_source.bias"}

CASES: dict[str, Case] = {
    "Vanilla": Case(_pyvene("Vanilla"), _method("full_vector")),
    "Vanilla-constant": Case(
        _with_constant("Vanilla"), lambda width: Intervention(Identity(width), Clamp(width, constant(width)))
    ),
    "Addition": Case(
        _with_constant("Addition"), lambda width: Intervention(Identity(width), Add(width, constant(width)))
    ),
    "Subtraction": Case(
        _with_constant("Subtraction"), lambda width: Intervention(Identity(width), Add(width, -constant(width)))
    ),
    "Zero": Case(_pyvene("Zero"), lambda width: Intervention(Identity(width), Zero())),
    "Vanilla-subspace": Case(
        _pyvene("Vanilla"), lambda width: Intervention(Identity(width), Swap(), Subset(width, SOME)), subspaces=SOME
    ),
    "Zero-subspace": Case(
        _pyvene("Zero"), lambda width: Intervention(Identity(width), Zero(), Subset(width, SOME)), subspaces=SOME
    ),
    "RotatedSpace": Case(_rotated, _method("das", rank=RANK), _R),
    "LowRankRotatedSpace": Case(_pyvene("LowRankRotatedSpace", low_rank_dimension=RANK), _method("das", rank=RANK), _R),
    "LowRankRotatedSpace-subspace": Case(
        _pyvene("LowRankRotatedSpace", low_rank_dimension=RANK),
        lambda width: Intervention(Rotation(width, RANK), Swap(), Subset(RANK, (0, 2))),
        _R,
        subspaces=(0, 2),
    ),
    "BoundlessRotatedSpace": Case(
        _boundless,
        _method("boundless", left_factor=True, **_ANNEALED),
        _R | {"gate.boundary": "intervention_boundaries"},
        positions=False,
    ),
    "SigmoidMask": Case(_masked("SigmoidMask", "mask"), _method("dbm", **_ANNEALED), {"gate.logits": "mask"}),
    "SigmoidMaskRotatedSpace": Case(
        _masked("SigmoidMaskRotatedSpace", "masks"),
        _method("rotated_dbm", **_ANNEALED),
        _R | {"gate.logits": "masks"},
        positions=False,
    ),
    "PCARotatedSpace": Case(_pca, _oblique, subspaces=tuple(range(RANK))),
    "LoReFT": Case(_pyreft("Loreft"), _method("loreft", rank=RANK), _R | _AFFINE),
    "NoReFT": Case(_pyreft("Noreft", add_bias=False), _method("noreft", rank=RANK), _W | _AFFINE),
    "ConsReFT": Case(_pyreft("Consreft"), _method("consreft", rank=RANK), _R | {"edit.value": "learned_source"}),
    "LoBiReFT": Case(_pyreft("Lobireft"), _method("lobireft", rank=RANK), _R | {"edit.value": "learned_source"}),
    "DiReFT": Case(_pyreft("Direft"), _method("direft", rank=RANK), _R | _AFFINE),
    "NoDiReFT": Case(_pyreft("Nodireft", add_bias=False), _method("nodireft", rank=RANK), _W | _AFFINE),
}
