"""`das.patch`: put single activations of one run into another, and see how much of the difference they carry.

    das.patch(model, NameGender(), grid(model, positions=["span:name", "last"]), windows=[3])

Every site is patched alone, and every window of adjacent layers together, beside the sum of its single effects: windows
exceed it where layers do the same work (arXiv 2309.16042). Formulas: `das.patching.effects`; corruption:
`das.patching.corruption`. A patch is a full-vector interchange, run by the same engine as every other intervention.

Cost       two forwards per batch, and one per patch, resumed at the patched site where the model allows it
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from das.data.encode import Encoder
from das.data.positions import parse_positions, resolve
from das.data.tokenize import Tokenizer
from das.errors import InputError, UnknownChoiceError
from das.models.families import ModelView
from das.models.load import load_tokenizer
from das.patching.corruption import Corruption, Noise, Replacement, noise_scale
from das.patching.effects import Effect, Ends, mean_effect
from das.patching.prompts import Patchable, patchable
from das.patching.runs import Patcher, Unit
from das.patching.sites import windows as windows_of
from das.patching.table import Level, Patching, Row
from das.tasks.base import Task
from das.types import CounterfactualPair, Site

DIRECTIONS = ("denoising", "noising")


def patch(
    model: nn.Module,
    pairs: Task | Sequence[CounterfactualPair],
    sites: Sequence[Site],
    *,
    direction: str = "denoising",
    corruption: Corruption | None = None,
    windows: Sequence[int] = (),
    n: int = 64,
    split: str = "test",
    seed: int = 0,
    filter_correct: bool = False,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 32,
) -> Patching:
    """Patch every site alone, and every window of adjacent layers.

    Args:
        model: a frozen causal LM.
        pairs: a task, or pairs: the base is the clean prompt, its target source the corrupted one.
        sites: where; `das.patching.sites.grid` lists them. A site with several positions patches them together.
        direction: "denoising" restores clean activations in the corrupted run, "noising" the other way round.
        corruption: the source prompt by default, or noise.
        windows: numbers of adjacent layers patched together.
        n, split, seed: which of a task's pairs.
        filter_correct: only pairs whose clean run prefers r, and (without noise) whose corrupted run prefers r'.
        tokenizer, batch_size: the model's own by default; pairs per forward.

    Raises:
        EmptySplitError, CapabilityError: no pair is left, or pairs whose source is not itself the counterfactual.
        SiteError, PositionError: a site that does not exist in this model or in a prompt.
        InputError: no sites.
    """
    _check(direction, sites)
    how, view = corruption or Replacement(), ModelView(model)
    noise = how if isinstance(how, Noise) else None
    encoder = Encoder.of(model, load_tokenizer(model) if tokenizer is None else tokenizer)
    given = pairs.pairs(split, n, seed) if isinstance(pairs, Task) else list(pairs)
    items = patchable(given, encoder, replace=noise is None)
    units: list[Unit] = [(i,) for i in range(len(sites))]
    units += [unit for size in windows for unit in windows_of(sites, size)]
    nu = 0.0 if noise is None else noise_scale(view, [item.encoded.ids for item in items], noise.sigmas)
    patcher = Patcher(view, sites, units, direction == "denoising", noise, nu)
    found, levels = _contributions(patcher, items, encoder, batch_size)
    kept = _right(levels, noise is None) if filter_correct else torch.ones(len(items), dtype=torch.bool)
    effects = [mean_effect(found[:, u], kept) for u in range(len(units))]
    clean_p, clean_ld, corrupted_p, corrupted_ld = levels[kept].mean(0).tolist()
    rows = [_row(sites, unit, effects, i, items[0]) for i, unit in enumerate(units)]
    ends = Level(clean_p, clean_ld), Level(corrupted_p, corrupted_ld)
    return Patching(rows, direction, str(how), *ends, int(kept.sum()), len(given))


def _check(direction: str, sites: Sequence[Site]) -> None:
    if direction not in DIRECTIONS:
        raise UnknownChoiceError("direction of patching", direction, DIRECTIONS)
    if not sites:
        raise InputError("there is no site to patch", got=0, remedy="give das.patching.sites.grid(model)")


def _right(levels: Tensor, replaced: bool) -> Tensor:
    """Which clean runs prefer r and, where tokens were replaced, whose corrupted runs prefer r'."""
    right = levels[:, 1] > 0
    return right & (levels[:, 3] < 0) if replaced else right


def _contributions(
    patcher: Patcher, items: Sequence[Patchable], encoder: Encoder, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Per pair and unit, (pairs, units, 4); and p(r), LD of the clean and of the corrupted run, (pairs, 4)."""
    found, levels = [], []
    for first in range(0, len(items), batch_size):
        chunk = items[first : first + batch_size]
        ends, patched = patcher.run(patcher.data(chunk, encoder), chunk, first)
        found.append(torch.stack([ends.contributions(logits) for logits in patched], 1).cpu())
        levels.append(_levels(ends, patcher.denoise).cpu())
    return torch.cat(found), torch.cat(levels)


def _levels(ends: Ends, denoise: bool) -> Tensor:
    runs = (ends.goal, ends.start) if denoise else (ends.start, ends.goal)
    return torch.stack([f(run) for run in runs for f in (ends.probabilities, ends.logit_differences)], 1)


def _row(sites: Sequence[Site], unit: Unit, effects: Sequence[Effect], number: int, item: Patchable) -> Row:
    first = sites[unit[0]]
    singles = None if len(unit) == 1 else sum((effects[i] for i in unit), Effect(0.0, 0.0, 0.0))
    numbers = [i for group in resolve(parse_positions(first.positions), item.encoded) for i in group]
    tokens = "".join(item.encoded.text[slice(*item.encoded.offsets[i])] + " " for i in numbers).rstrip()
    layers = tuple(sites[i].layer for i in unit)
    return Row(layers, first.component, first.positions, first.heads, tokens, effects[number], singles)
