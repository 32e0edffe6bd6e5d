"""Labelled activations for estimators: read off the unmodified model, at many sites in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.data.positions import PositionSpec, parse_positions, resolve
from das.data.tokenize import EncodedPrompt
from das.engine.read import read
from das.errors import CapabilityError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.tasks.base import ConceptTask, ContrastTask
from das.tasks.sieve import Sieve
from das.training.problem import Problem
from das.types import Contrast, Prompt, Site


@dataclass(frozen=True)
class Labelled:
    """A prompt, the tokens of its response if one is needed, its concept value and the contrast it belongs to.

    Where a task has several concepts, also the number of the one that the contrast is about.
    """

    prompt: Prompt
    response: tuple[int, ...]
    label: int
    pair: int
    concept: int | None = None


def labelled(problem: Problem, split: str, responses: bool) -> list[Labelled]:
    """A split's prompts of both concept values, in pairs where the task has contrasts.

    Raises:
        CapabilityError: the task has neither contrasts nor prompts of two values.
    """
    task, n = problem.task, problem.data.n_contrast
    drawn: Sequence[Contrast] = []
    if isinstance(task, ContrastTask) and responses:
        written = problem.contrasts(split)
        drawn = [w.contrast for w in written]
        sides = [((w.contrast.positive, w.positive_ids), (w.contrast.negative, w.negative_ids)) for w in written]
    elif isinstance(task, ContrastTask):
        drawn = task.contrasts(split, n, problem.seed)
        sides = [((c.positive, ()), (c.negative, ())) for c in drawn]
    elif isinstance(task, ConceptTask) and not responses:
        prompts = task.prompts(split, 2 * n, problem.seed)
        positive, negative = ([p for p, label in prompts if label == v] for v in (task.positive, task.negative))
        sides = [((a, ()), (b, ())) for a, b in zip(positive, negative, strict=False)]
    else:
        raise CapabilityError(
            f"task {task.name!r} has no prompts of two concept values, which this method is fitted on",
            got="responses are needed" if responses else "interchange pairs only", remedy="use a task with contrasts",
        )  # fmt: skip
    names = ["" if c.concept is None else c.concept.name for c in drawn] or [""] * len(sides)
    numbers = {name: i for i, name in enumerate(sorted(set(names) - {""}))}
    return [
        Labelled(prompt, tuple(ids), label, i, numbers.get(names[i]))
        for i, both in enumerate(sides)
        for label, (prompt, ids) in zip((POSITIVE, NEGATIVE), both, strict=True)
    ]


@torch.no_grad()
def collect(problem: Problem, sites: Sequence[Site], split: str) -> dict[Site, Examples]:
    """Activations at every site, one row per token its positions select.

    Raises:
        PositionError: a prompt does not have these positions.
        CapabilityError: the task has no prompts of two concept values.
    """
    specs = [parse_positions(site.positions) for site in sites]
    rows = labelled(problem, split, any(spec.beyond_prompt for spec in specs))
    if not problem.data.strict:
        rows = _usable(problem, rows, specs, split)
    bound = [problem.view.bind(site) for site in sites]
    found: list[list[Examples]] = [[] for _ in sites]
    size = problem.data.batch_size
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        tokens, where = _tokens(problem, chunk, specs)
        read_at = [Positions(index, mask).to(problem.device) for index, mask, _ in where]
        activations = read(problem.view, tokens.to(problem.device), list(zip(bound, read_at, strict=True)))
        for parts, h, (_, mask, real) in zip(found, activations, where, strict=True):
            parts.append(_examples(chunk, start, h.cpu(), mask, real))
    return {site: joined(parts) for site, parts in zip(sites, found, strict=True)}


def check_fits(problem: Problem, prompt: Prompt, n_response: int, specs: Sequence[PositionSpec]) -> None:
    """Raise PositionError or ContextLengthError where a prompt lacks positions or is too long with its response."""
    encoded = problem.encoder.encode(prompt)
    problem.encoder.check_length(encoded, n_response)
    for spec in specs:
        resolve(spec, encoded, n_response)


def _usable(problem: Problem, rows: Sequence[Labelled], specs: Sequence[PositionSpec], split: str) -> list[Labelled]:
    """The rows of those pairs of which both prompts fit; the others are counted."""

    def fitting(both: Sequence[Labelled]) -> Sequence[Labelled]:
        for row in both:
            check_fits(problem, row.prompt, len(row.response), specs)
        return both

    sieve = Sieve(strict=False)
    pairs = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    kept = sieve.sift(pairs, fitting, lambda both: f"prompts {both[0].pair} of both values")
    problem.dropped[f"{split}_activations"] = dict(sieve.dropped)
    return [row for both in kept for row in both]


def _tokens(
    problem: Problem, chunk: Sequence[Labelled], specs: Sequence[PositionSpec]
) -> tuple[TokenBatch, list[tuple[Tensor, Tensor, Tensor]]]:
    """Left-padded ids; per spec the columns, which are real, and their real positions."""
    encoded = list(problem.encoder.encode_all([row.prompt for row in chunk]))
    for e, row in zip(encoded, chunk, strict=True):
        problem.encoder.check_length(e, len(row.response))
    ids, mask = pad(
        [[*e.ids, *row.response] for e, row in zip(encoded, chunk, strict=True)], problem.encoder.pad_id, "left"
    )
    shift = mask.long().argmax(1)[:, None]
    where = []
    for spec in specs:
        real, known = pad([_flat(spec, e, len(row.response)) for e, row in zip(encoded, chunk, strict=True)], 0)
        where.append((torch.where(known, real + shift, 0), known, real))
    return TokenBatch(ids, mask), where


def _flat(spec: PositionSpec, encoded: EncodedPrompt, n_response: int) -> list[int]:
    return [i for group in resolve(spec, encoded, n_response) for i in group]


def _examples(chunk: Sequence[Labelled], start: int, h: Tensor, mask: Tensor, real: Tensor) -> Examples:
    row, slot = mask.nonzero(as_tuple=True)
    labels = torch.tensor([one.label for one in chunk])
    pairs = torch.tensor([one.pair for one in chunk])
    several = all(one.concept is not None for one in chunk)
    concept = torch.tensor([one.concept for one in chunk])[row] if several else None
    return Examples(h[row, slot].float(), labels[row], start + row, pairs[row], real[row, slot], concept=concept)


def joined(parts: Sequence[Examples]) -> Examples:
    """Examples of several batches in one."""
    names = [f.name for f in fields(Examples) if getattr(parts[0], f.name) is not None]
    return Examples(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def shuffle_labels(found: Mapping[Site, Examples], seed: int) -> dict[Site, Examples]:
    """Concept values dealt out anew, prompt by prompt, the same at every site."""
    numbers = next(iter(found.values())).prompt.unique()
    first = {int(n): int(e.label[e.prompt == n][0]) for e in found.values() for n in numbers}
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    dealt = {int(n): first[int(numbers[i])] for n, i in zip(numbers, order, strict=True)}
    return {site: e.relabelled(torch.tensor([dealt[int(p)] for p in e.prompt])) for site, e in found.items()}


def sketches(sites: Sequence[Site], widths: Sequence[int]) -> Iterator[Examples]:
    """Stand-ins of the right width, for what has to be known before anything is read."""
    generator = torch.Generator().manual_seed(0)
    for width in widths:
        n = 4 * width
        label = torch.arange(n) % 2
        x = torch.randn(n, width, generator=generator) + 2.0 * label[:, None]
        nowhere = torch.zeros(n, dtype=torch.long)
        yield Examples(x, label, torch.arange(n), torch.arange(n) // 2, nowhere, x.flip(0))
