"""Printing plainly."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def console() -> Console:
    """Where results are printed; at least 120 columns where nobody looks, so that files keep whole lines."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=120)


def say(out: Console, text: str) -> None:
    """Plain text: brackets, paths and prompts come out as they are."""
    out.print(text, markup=False, emoji=False, soft_wrap=True)


def near(folder: str | Path) -> Path:
    """A folder as seen from here, where it lies below."""
    path, here = Path(folder), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
