"""Benchmarks against other implementations, each after asserting equal loss and gradient.

    python scripts/benchmarks/run.py [--only NAME ...] [--json FILE] [--report FILE.md]

One module of `scripts/benchmarks/cases` per benchmark. FILE maps NAME to ratio (peer time / das time), flop_ratio
(peer / das), memory_ratio (das / peer) and grad_rel_err, and what else was measured; an existing FILE is added to.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import scripts.benchmarks.cases as cases
from scripts.benchmarks.cases.growth import draw
from scripts.benchmarks.harness import machine

_PLOT = "growth.png"


def main() -> None:
    """Run, print, write."""
    names = sorted(info.name for info in pkgutil.iter_modules(cases.__path__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name in args.only:
        case = importlib.import_module(f"{cases.__name__}.{name}")
        result = case.run()
        found[name] = {**result.to_json(), "bar": case.BAR, "machine": machine()}
        print(f"{name}: {result.ratio:.3g} x (bar {case.BAR})", json.dumps(found[name]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2))
    if args.report:
        args.report.write_text(report(found))
        if "growth" in found:
            draw(found["growth"]["notes"], args.report.with_name(_PLOT))


def report(found: dict[str, dict]) -> str:
    """Markdown."""
    where = next(iter(found.values()))["machine"]
    lines = [
        f"# Benchmarks\n\n{where['cpu']}, {where['threads']} threads of {where['cores']}, torch {where['torch']}\n"
    ]
    lines += [
        "| benchmark | ratio | quartiles | bar | FLOPs | memory | gradient | peer ms | das ms | notes |",
        "|---|--:|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, r in found.items():
        iqr = "" if r["iqr"] is None else f"{r['iqr'][0]:.3g} to {r['iqr'][1]:.3g}"
        numbers = [r[k] for k in ("flop_ratio", "memory_ratio", "grad_rel_err", "peer_ms", "das_ms")]
        shown = ["" if n is None else f"{n:.3g}" for n in numbers]
        notes = "; ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in r["notes"].items())
        lines.append(f"| {name} | {r['ratio']:.3g} | {iqr} | {r['bar']} | {' | '.join(shown)} | {notes} |")
    if "growth" in found:
        lines.append(f"\n![growth of the time of a step]({_PLOT})")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
