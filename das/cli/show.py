"""`das show`: pairs of a task with the tokens that are read and written marked. No weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from das.cli import build
from das.cli.checks import Bound, check
from das.cli.config import Config
from das.cli.marks import marked
from das.cli.quiet import quiet
from das.cli.terminal import console, say
from das.cli.typed import whole
from das.data.dataset import PairDataset
from das.data.positions import parse_positions, resolve
from das.data.tokenize import EncodedPrompt
from das.errors import InputError
from das.types import CounterfactualPair

#: Most pairs that are shown at once.
MOST = 64


def job(cfg: Config) -> None:
    """Print `n` pairs of a split.

    Raises:
        InputError: no pair is asked for.
    """
    quiet()
    n = whole(cfg.n, "n")
    if n < 1:
        raise InputError("n must be at least 1", got=n, remedy="give n=4, for example")
    parts = build.parts(cfg)
    bound = check(parts, build.ModelSettings.of(cfg.model))
    pairs = parts.task.pairs(str(cfg.split), min(n, MOST), parts.settings.seed)
    out = console()
    show_pairs(out, bound, pairs, parts.task.labels)
    if n > MOST:
        say(out, f"{n} pairs were asked for; {MOST} are the most that are shown")


def show_pairs(out: Console, bound: Bound, pairs: Sequence[CounterfactualPair], labels: tuple[str, ...] | None) -> None:
    """Base, sources and labels of each pair, per placement; below them why a longer mention is only marked in part."""
    data = bound.problem.pairs(pairs, bound.interventions, labels)
    partial = False
    for row, pair in enumerate(pairs):
        effect = "changes" if pair.changed else "stays"
        say(out, f"pair {row}: {pair.base_label!r} -> {pair.counterfactual_label!r} (the label {effect})")
        for i, placement in enumerate(bound.interventions.placements):
            if len(bound.interventions) > 1:
                say(out, f"  {placement.write}")
            shown = [("base", "written", pair.base, placement.write.positions, _column(data, f"write:{i}", row))]
            for name, site in placement.reads.items():
                shown.append((name, "read", pair.sources[name], site.positions, _column(data, f"read:{i}:{name}", row)))
            for name, what, prompt, positions, chosen in shown:
                encoded = bound.problem.encoder.encode(prompt)
                _line(out, name, what, encoded, chosen)
                partial = partial or _is_partial(positions, encoded, chosen)
        say(out, "")
    if partial:
        say(
            out,
            "Mentions of unequal length are aligned at their ends: the first tokens of the longer one have no\n"
            "counterpart, so they are neither read nor written.\n",
        )


def _line(out: Console, name: str, what: str, encoded: EncodedPrompt, chosen: Sequence[int]) -> None:
    inside = [i for i in dict.fromkeys(chosen) if i < len(encoded)]
    head = Text(f"  {name:<7}{what + ':':<9}")
    out.print(head + marked(encoded, inside, out.is_terminal), soft_wrap=True)


def _is_partial(positions: str, encoded: EncodedPrompt, chosen: Sequence[int]) -> bool:
    """Whether a span has tokens that are left out."""
    spec = parse_positions(positions)
    return spec.kind == "span" and not {i for group in resolve(spec, encoded) for i in group} <= set(chosen)


def _column(data: PairDataset, name: str, row: int) -> list[int]:
    return [int(i) for i in data.table[row][name]]
