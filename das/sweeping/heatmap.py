"""A sweep as a picture: layers upwards, tokens along the text, one panel per rank beside the full-vector swap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from das.sweeping.cells import FULL, RANDOM
from das.sweeping.journal import Row
from das.sweeping.sweep import Sweep

_CELL, _MARGIN = 0.42, 1.6
#: As many cells at most have their numbers written in.
_FEW = 60
_RIM = [withStroke(linewidth=1.5, foreground="black")]


def draw(swept: Sweep, file: str | Path, metric: str | None = None) -> Path:
    """Write a PNG.

    Args:
        swept: what `sweep` returned.
        file: where to.
        metric: which; the one that selected the best site by default.
    """
    metric = metric or swept.select.name
    finite = metric == swept.select.name and math.isfinite(swept.select.best + swept.select.worst)
    ends = sorted((swept.select.best, swept.select.worst)) if finite else _ends(swept.rows, metric)
    ranks = sorted({row["rank"] for row in swept.rows}, key=lambda rank: rank or 0)
    panels = [("learned" if rank is None else f"rank {rank}", metric, rank) for rank in ranks]
    beside = {FULL: "the whole vector swapped", RANDOM: "random subspace, equal rank"}
    panels += [
        (title, f"{name}/{metric}", ranks[0]) for name, title in beside.items() if f"{name}/{metric}" in swept.rows[0]
    ]
    columns, layers = (sorted({row[key] for row in swept.rows}) for key in ("column", "layer"))
    width, height = _CELL * len(columns) + _MARGIN, _CELL * len(layers) + _MARGIN
    figure = Figure((max(width, 7.0), height * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axis, (title, key, rank) in zip(axes, panels, strict=True):
        image = _panel(axis, [row for row in swept.rows if row["rank"] == rank], key, title, columns, layers, ends)
    figure.colorbar(image, ax=list(axes), shrink=0.6)
    _mark(axes[ranks.index(swept.best["rank"])], swept.best, columns, layers)
    figure.savefig(path := Path(file), dpi=120)
    return path


def _panel(
    axis: Axes,
    rows: Sequence[Row],
    key: str,
    title: str,
    columns: Sequence[int],
    layers: Sequence[int],
    ends: Sequence[float],
) -> AxesImage:
    grid = [[_mean(rows, key, column, layer) for column in columns] for layer in layers]
    image = axis.imshow(grid, origin="lower", vmin=ends[0], vmax=ends[1], cmap="viridis", aspect="auto")
    text = {row["column"]: row["text"] for row in rows}
    if len(columns) * len(layers) <= _FEW:
        text = {row["column"]: _placed(row) for row in rows}
        for y, x in product(range(len(layers)), range(len(columns))):
            axis.text(x, y, f"{grid[y][x]:.2f}", ha="center", va="center", fontsize=7, color="white", path_effects=_RIM)
    axis.set_xticks(range(len(columns)), [text[c] for c in columns], rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axis.set(xlabel="token", ylabel="layer")
    axis.set_title(f"{key.rsplit('/', 1)[-1]}: {title}", loc="left")
    return image


def _placed(row: Row) -> str:
    """A column's token and its position, where there is room for both."""
    return str(row["text"]) if row["positions"].startswith("span:") else f"{row['text']} ({row['positions']})"


def _ends(rows: Sequence[Row], metric: str) -> list[float]:
    """Of all numbers that are drawn, where the metric's range has no end."""
    drawn = [row[key] for row in rows for key in row if key == metric or key.endswith(f"/{metric}")]
    numbers = [n for n in drawn if n is not None and math.isfinite(n)] or [0.0, 1.0]
    return [min(numbers), max(numbers)]


def _mean(rows: Sequence[Row], key: str, column: int, layer: int) -> float:
    """Over seeds."""
    found: list[Any] = [row[key] for row in rows if row["column"] == column and row["layer"] == layer and key in row]
    return sum(found) / len(found) if found else float("nan")


def _mark(axis: Axes, best: Row, columns: Sequence[int], layers: Sequence[int]) -> None:
    axis.plot(columns.index(best["column"]), layers.index(best["layer"]), "s", ms=14, mfc="none", mec="red", mew=2)
