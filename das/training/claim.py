"""A run folder belongs to one run: what `fit` is about to do is written there, and must match when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from das.artifacts.describe import describe_interventions, plain
from das.data.dataset import PairDataset
from das.errors import RunExistsError
from das.interventions.sets import InterventionSet
from das.models.fingerprint import fingerprint
from das.training.problem import Problem
from das.training.recipe import Recipe

FILE = "fit.json"
#: Settings that do not change the result.
_FREE = ("progress", "log_every", "checkpoint_every", "budget_gib", "cache_dir", "cache_gib", "tier")


def claim(file: Path, now: Mapping[str, Any]) -> None:
    """Write down what is about to be done, or make sure that it is what the folder was started with.

    Args:
        file: of the folder.
        now: from `facts`, and what else must be equal.

    Raises:
        RunExistsError: the folder was started with something else.
    """
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n")
        part.replace(file)
        return
    before = json.loads(file.read_text())
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if changed:
        told = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed)
        raise RunExistsError(
            "this folder was started with something else", got=f"{file.parent}: {told[:400]}",
            remedy="give another run_dir, or the settings it was started with",
        )  # fmt: skip


def facts(problem: Problem, recipe: Recipe, interventions: InterventionSet, data: PairDataset) -> dict[str, Any]:
    """A training as plain data: equal for equal trainings only."""
    trainer = {k: v for k, v in asdict(recipe.trainer).items() if k not in _FREE}
    found = {
        "model": fingerprint(problem.model),
        "task": problem.task.name,
        "sites": [str(site) for site in recipe.sites],
        "interventions": describe_interventions(interventions),
        "objective": _told(recipe.minimised(interventions)) if interventions.learned else None,
        "optimizer": _told(recipe.optimizer),
        "trainer": trainer,
        "seed": recipe.seed,
        "data": data.fingerprint,
    }
    readable: dict[str, Any] = json.loads(json.dumps(plain(found)))
    return readable


def _told(value: Any) -> Any:
    """An object as its class and its public state; anything that cannot be compared between processes by type only."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(k): _told(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_told(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    state = asdict(value) if is_dataclass(value) and not isinstance(value, type) else getattr(value, "__dict__", {})
    return {"class": name, **{k: _told(v) for k, v in state.items() if not k.startswith("_")}}
