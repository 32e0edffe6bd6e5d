"""`das show`: pairs of a task with the tokens that are read and written marked. No weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from das.cli import build
from das.cli.checks import SAMPLE, Bound, check
from das.cli.config import Config
from das.cli.hydra_app import NO_FOLDER, launch
from das.cli.marks import marked
from das.cli.quiet import quiet
from das.cli.report import console, say
from das.data.dataset import PairDataset
from das.types import CounterfactualPair, Prompt


def command(args: Sequence[str]) -> int:
    """Entry point of `das show`."""
    return launch("show", "show", args, job, NO_FOLDER)


def job(cfg: Config) -> None:
    """Print `n` pairs of a split."""
    quiet()
    parts = build.parts(cfg)
    bound = check(parts, build.ModelSettings.of(cfg.model), cfg.steering)
    pairs = parts.task.pairs(str(cfg.split), max(1, min(int(cfg.n), SAMPLE)), parts.settings.seed)
    show_pairs(console(), bound, pairs, parts.task.labels)


def show_pairs(out: Console, bound: Bound, pairs: Sequence[CounterfactualPair], labels: tuple[str, ...] | None) -> None:
    """Base, sources and labels of each pair, per placement."""
    data = bound.problem.pairs(pairs, bound.interventions, labels)
    for row, pair in enumerate(pairs):
        effect = "changes" if pair.changed else "stays"
        say(out, f"pair {row}: {pair.base_label!r} -> {pair.counterfactual_label!r} (the label {effect})")
        for i, placement in enumerate(bound.interventions.placements):
            if len(bound.interventions) > 1:
                say(out, f"  {placement.write}")
            _line(out, "base", "written", bound, pair.base, _column(data, f"write:{i}", row))
            for name in placement.reads:
                _line(out, name, "read", bound, pair.sources[name], _column(data, f"read:{i}:{name}", row))
        say(out, "")


def _line(out: Console, name: str, what: str, bound: Bound, prompt: Prompt, chosen: Sequence[int]) -> None:
    encoded = bound.problem.encoder.encode(prompt)
    inside = [i for i in dict.fromkeys(chosen) if i < len(encoded)]
    head = Text(f"  {name:<7}{what + ':':<9}")
    out.print(head + marked(encoded, inside, out.is_terminal), soft_wrap=True)


def _column(data: PairDataset, name: str, row: int) -> list[int]:
    return [int(i) for i in data.table[row][name]]
