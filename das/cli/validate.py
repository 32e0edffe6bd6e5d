"""`das validate`: compose a configuration and bind it to the model without loading weights."""

from __future__ import annotations

from rich.table import Table

from das.artifacts.steers import told
from das.cli import build
from das.cli.checks import Bound, check
from das.cli.config import Config
from das.cli.quiet import quiet
from das.cli.show import show_pairs
from das.cli.terminal import console, say


def job(cfg: Config) -> None:
    """Print what the configuration means for this model; errors are raised."""
    quiet()
    parts, chosen = build.parts(cfg), build.ModelSettings.of(cfg.model)
    bound = check(parts, chosen)
    out = console()
    out.print(_sites(bound))
    learned = sum(p.numel() for p in bound.interventions.parameters() if p.requires_grad)
    objective = type(parts.objective).__module__.rsplit(".", 1)[-1] if learned else "none"
    say(out, f"model {chosen.path}; task {parts.task.name}; objective {objective}; {learned} parameters to learn")
    for line in dict.fromkeys(f"{x.name} {told(x)}" for x in bound.interventions.distinct()):
        say(out, line)
    say(out, f"engine tier to expect: {bound.tier}")
    say(out, "")
    show_pairs(out, bound, parts.task.pairs("train", 1, parts.settings.seed), parts.task.labels)
    say(out, "valid: sites, ranks, positions, labels, lengths and splits all fit")


def _sites(bound: Bound) -> Table:
    table = Table()
    for name in ("site", "module", "method"):
        table.add_column(name, overflow="fold")
    for name in ("width", "rank"):
        table.add_column(name, justify="right")
    for placement, path, x in zip(bound.interventions.placements, bound.paths, bound.interventions, strict=True):
        table.add_row(str(placement.write), path, x.name, str(x.width), str(x.rank))
    return table
