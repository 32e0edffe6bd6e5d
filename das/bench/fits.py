"""What benchmarks share: `das.fit` with short settings, fixed subspaces as methods, and their metrics as gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from das.bench.base import Gate
from das.edits.swap import Swap
from das.featurizers.rotation import Rotation
from das.geometry import principal_cosines
from das.interventions.base import Intervention
from das.shapes import Basis
from das.tasks.base import Task
from das.training.controls.run import ControlSettings
from das.training.fit import Fit, fit
from das.training.loop import TrainerSettings
from das.training.optim import AdamW
from das.training.problem import DataSettings
from das.training.recipe import Builder, Method
from das.training.settings import FitSettings
from das.types import Site

#: Controls that take no training, and what gates call them.
UNTRAINED = {"no_intervention": "no-op", "full_vector": "full vector", "random_subspace": "random"}


def fitted(
    model: nn.Module,
    task: Task,
    method: Method,
    site: Site,
    seed: int,
    *,
    controls: Sequence[str] = (),
    steps: int = 200,
    batch: int = 32,
    lr: float = 0.02,
    n_train: int = 512,
    n_test: int = 256,
    **more: Any,
) -> Fit:
    """A method trained at a site and measured on test pairs, beside controls; `more` is for `das.fit`."""
    settings = FitSettings(
        DataSettings(n_train=n_train, n_test=n_test), AdamW(lr=lr), TrainerSettings(steps, batch, progress=False),
        ControlSettings(tuple(controls)), seed,
    )  # fmt: skip
    return fit(model, task, method, site, settings=settings, **more)


def fixed(basis: Basis) -> Builder:
    """A method that swaps along given directions, (width, rank) orthonormal, and learns nothing."""

    def made(width: int) -> Intervention:
        rotation = Rotation(width, basis.shape[1], basis=basis, learned=False)
        return Intervention(rotation, Swap(), steering={}, name="fixed")

    return made


def iia(name: str, metrics: Mapping[str, Any], bar: str = "", changed: str = "", prefix: str = "") -> list[Gate]:
    """Interchange intervention accuracy of all test pairs, and of those whose label changes.

    Args:
        name: whose.
        metrics: of a fit.
        bar, changed: for either.
        prefix: "control/NAME/" for a control's.
    """
    return [
        Gate(f"{name}: IIA", metrics[f"{prefix}iia"], bar),
        Gate(f"{name}: IIA, changed pairs", metrics[f"{prefix}iia_changed"], changed),
    ]


def projection(found: Fit, planted: Basis) -> float:
    """Cosine of the smallest angle between the subspace found and a planted one, (width, rank) orthonormal.

    Of a direction it is the length within the other subspace.
    """
    rotation = found.subspace.interventions[0].featurizer
    assert isinstance(rotation, Rotation)
    return float(principal_cosines(rotation.basis.detach(), planted)[0])
