"""`das bench mini`: every benchmark over seeds; every gate of every seed, held or not, in one file.

A gate that is missed is news, not an error: the exit code is 0 all the same.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from math import isnan, nan
from os import cpu_count
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table

from das.bench.base import bench, names
from das.cli import build
from das.cli.config import Config
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.recorded import command, commit, versions
from das.cli.run_folder import check_out, write_json
from das.cli.terminal import console, say
from das.cli.typed import whole
from das.errors import EmptySplitError, InputError, RunExistsError, UnknownChoiceError
from das.metrics.aggregate.student import student

log = logging.getLogger("das.cli")

SUITES = ("mini",)
#: One seed of one benchmark, as it is written: bench, seed, seconds, commit, gates.
Run = Mapping[str, Any]


def job(cfg: Config) -> None:
    """Run what is not in the file yet, write after every seed, print.

    Raises:
        UnknownChoiceError: no such suite or benchmark.
        EmptySplitError: no seeds.
        InputError: `out` is a file of something else, or cannot be written.
        RunExistsError: `out` was written with other libraries, or by another commit of this package.
    """
    quiet()
    if str(cfg.suite) not in SUITES:
        raise UnknownChoiceError("suite of benchmarks", str(cfg.suite), SUITES)
    wanted, seeds = _benches(cfg), _seeds(cfg)
    check_out(cfg.out)
    out = None if cfg.out is None else Path(str(cfg.out)).expanduser()
    about = {"machine": _machine(), "versions": versions(), "command": command()}
    code = commit()
    runs = [] if out is None else _done(out, versions(), code)
    with narrated():
        for name in wanted:
            for seed in seeds:
                if not any((run["bench"], run["seed"]) == (name, seed) for run in runs):
                    runs.append(_run(name, seed, code))
                    if out is not None:
                        write_json(out, {**about, "runs": runs})
    for name in wanted:
        console().print(_table(name, [r for r in runs if r["bench"] == name and r["seed"] in seeds]))
    _told([r for r in runs if r["bench"] in wanted and r["seed"] in seeds])
    if out is not None:
        say(console(), f"written to {out}")


def _benches(cfg: Config) -> list[str]:
    only = build.plain(cfg)["only"]
    wanted = list(names()) if only is None else list(map(str, only if isinstance(only, list) else [only]))
    for name in wanted:
        bench(name)
    return wanted


def _seeds(cfg: Config) -> list[int]:
    given = build.plain(cfg)["seeds"]
    found = [whole(s, "seeds") for s in given] if isinstance(given, list) else list(range(whole(given, "seeds")))
    if not found or len(set(found)) < len(found):
        raise EmptySplitError("seeds must be a number above 0, or a list of different ones", got=given)
    return found


def _run(name: str, seed: int, code: str | None) -> dict[str, Any]:
    log.info("benchmark %s, seed %d: %s", name, seed, bench(name).title)
    began = time.perf_counter()
    gates = bench(name).run(seed)
    rows = [{"name": g.name, "value": g.value, "bar": g.bar, "held": g.held} for g in gates]
    seconds = round(time.perf_counter() - began, 2)
    return {"bench": name, "seed": seed, "seconds": seconds, "commit": code, "gates": rows}


def _done(out: Path, now: Mapping[str, str], code: str | None) -> list[Any]:
    """The runs of an earlier command."""
    if not out.exists():
        return []
    try:
        before = json.loads(out.read_text(encoding="utf-8"))
        runs, then = list(before["runs"]), dict(before["versions"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "out exists, and das bench did not write it", got=str(out), remedy="give another file"
        ) from error
    if then != now:
        changed = ", ".join(
            f"{k} {then.get(k)} -> {now.get(k)}" for k in sorted({*then, *now}) if then.get(k) != now.get(k)
        )
        raise RunExistsError("out was written with other libraries", got=changed, remedy="give another file")
    for run in runs:
        if (by := run.get("commit")) != code:
            got = f"{run['bench']}, seed {run['seed']}, of {by}; this is {code}"
            raise RunExistsError("out was written by another commit of das", got=got, remedy="give another file")
        for gate in run["gates"]:
            gate["value"] = nan if gate["value"] is None else gate["value"]
    return runs


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(), "processor": platform.processor() or platform.machine(), "cores": cpu_count(),
        "threads": torch.get_num_threads(), "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }  # fmt: skip


def _table(name: str, runs: Sequence[Run]) -> Table:
    """A line per gate: over seeds the mean, its interval, and how often the bar held."""
    seconds = sum(run["seconds"] for run in runs) / len(runs)
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    title = f"{name}: {escape(bench(name).title)} ({seeds}, {seconds:.0f} s each)"
    table = Table(title=title, title_justify="left")
    table.add_column("gate", overflow="fold")
    for column in ("mean", "95 % interval", "bar", "held"):
        table.add_column(column, justify="right", no_wrap=True)
    found: dict[tuple[str, str], list[Any]] = {}
    for gate in (gate for run in runs for gate in run["gates"]):
        found.setdefault((gate["name"], gate["bar"]), []).append(gate)
    for (gate_name, bar), rows in found.items():
        missed = sum(row["held"] is False for row in rows)
        held = "" if not bar else f"{len(rows) - missed} of {len(rows)}"
        table.add_row(escape(gate_name), *_over([r["value"] for r in rows]), bar, held, style="red" if missed else None)
    return table


def _over(values: Sequence[float]) -> tuple[str, str]:
    if any(map(isnan, values)):
        return "nan", ""
    mean, half = student(values)
    return f"{mean:.3f}", "" if half is None else f"± {half:.3f}"


def _told(runs: Sequence[Run]) -> None:
    """How many gates held, and every one that did not."""
    barred = [(run, gate) for run in runs for gate in run["gates"] if gate["bar"]]
    missed = [(run, gate) for run, gate in barred if not gate["held"]]
    say(console(), f"{len(barred) - len(missed)} of {len(barred)} gates held")
    for run, gate in missed:
        say(
            console(),
            f"  MISSED {run['bench']}, seed {run['seed']}: {gate['name']} {gate['value']:.3f}, bar {gate['bar']}",
        )
