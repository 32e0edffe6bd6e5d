"""`das patch`: which activations carry what differs between two prompts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from das.cli import build
from das.cli.config import Config
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.recorded import command
from das.cli.run_folder import check_out, write_json
from das.cli.terminal import console, say
from das.cli.typed import check_value, truth, whole
from das.data.encode import Encoder
from das.models.families import ModelView
from das.patching.corruption import Noise
from das.patching.patch import patch
from das.patching.sites import each_token, grid
from das.patching.table import Patching, Row
from das.tasks.base import Task
from das.types import Site

log = logging.getLogger("das.cli")


def job(cfg: Config) -> None:
    """Patch, print and write.

    Raises:
        DasError: a site, a task or a setting that cannot be used, before weights are loaded where that is possible.
    """
    quiet()
    check_out(cfg.out)
    with narrated():
        found, about = _patched(cfg)
    say(console(), f"{found.direction}, {found.pairs} of {found.given} pairs, corrupted by {found.corruption}")
    ends = ((name, getattr(found, name)) for name in ("clean", "corrupted"))
    say(console(), "; ".join(f"{name}: p(r) {level.p:.3f}, LD {level.ld:.3f}" for name, level in ends))
    console().print(_table(found))
    if cfg.out is not None:
        write_json(Path(str(cfg.out)).expanduser(), {**found.to_json(), **about})
        say(console(), f"written to {cfg.out}")


def _patched(cfg: Config) -> tuple[Patching, dict[str, str]]:
    numbers = {key: whole(cfg[key], key) for key in ("n", "seed", "batch_size")}
    check_value(cfg.sigmas, float | int, "sigmas")
    noise = None if cfg.noise is None else Noise(str(cfg.noise), float(cfg.sigmas), numbers["seed"])
    correct = truth(cfg.filter_correct, "filter_correct")
    chosen, task = build.ModelSettings.of(cfg.model), build.make(cfg.task, "task")
    sites = _sites(cfg, task, chosen)
    windows = [whole(size, "windows") for size in _listed(cfg, "windows")]
    log.info("loading model %s", chosen.path)
    model = build.model(chosen)
    log.info("patching %d sites", len(sites))
    found = patch(
        model, task, sites, direction=str(cfg.direction), corruption=noise, windows=windows, split=str(cfg.split),
        filter_correct=correct, **numbers,
    )  # fmt: skip
    return found, {"model": chosen.path, "task": task.name, "command": command()}


def _sites(cfg: Config, task: Task, chosen: build.ModelSettings) -> list[Site]:
    """All sites, each bound to the model without weights."""
    skeleton = build.meta(chosen)
    layers = None if cfg.layers == "all" else [whole(layer, "layers") for layer in _listed(cfg, "layers")]
    positions = [str(p) for p in _listed(cfg, "positions")]
    if positions == ["each"]:
        pairs = task.pairs(str(cfg.split), whole(cfg.n, "n"), whole(cfg.seed, "seed"))
        positions = list(each_token(pairs, Encoder.of(skeleton, build.tokenizer(chosen))))
    components = [str(c) for c in _listed(cfg, "components")]
    found = grid(skeleton, components, positions, layers, truth(cfg.heads, "heads"))
    for site in found:
        ModelView(skeleton).bind(site)
    return found


def _listed(cfg: Config, key: str) -> list[Any]:
    value = build.plain(cfg)[key]
    return value if isinstance(value, list) else [value]


def _table(found: Patching) -> Table:
    """One line per row; the largest LD in bold."""
    windows = any(row.singles is not None for row in found.rows)
    table = Table()
    for name in ("layer", "component", "positions", "tokens"):
        table.add_column(name)
    for name in ("P", "LD", "KL", *(("sum of LD",) if windows else ())):
        table.add_column(name, justify="right")
    best = found.best()
    for row in found.rows:
        numbers = [f"{value:.3f}" for value in (row.effect.p, row.effect.ld, row.effect.kl)]
        numbers += [] if not windows else ["" if row.singles is None else f"{row.singles.ld:.3f}"]
        table.add_row(*_where(row), *numbers, style="bold" if row is best else None)
    return table


def _where(row: Row) -> tuple[str, str, str, str]:
    layers = str(row.layers[0]) if len(row.layers) == 1 else f"{row.layers[0]}-{row.layers[-1]}"
    heads = "" if row.heads is None else f" head {','.join(map(str, row.heads))}"
    return layers, f"{row.component}{heads}", row.positions, escape(row.tokens)
