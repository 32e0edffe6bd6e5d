"""The folder of one of the package's own models: made on first use, then read from the user's cache directory.

A folder is named after everything that determines the weights: the recipe's sources and the library versions.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock
from transformers.utils import logging

from das.errors import ModelError
from das.models.cache_root import CACHE_VARIABLE, cache_root
from das.models.recipes.base import Recipe, Report, recipe

_LIBRARIES = ("torch", "transformers", "tokenizers")


def model_dir(name: str, cache_dir: Path | None = None, progress: bool = True) -> Path:
    """The folder with a model and its tokenizer; makes them first where they are absent.

    Safe to call from several processes: one makes it, the others wait, and a folder is either complete or not there.

    Args:
        name: of a recipe.
        cache_dir: root of the cache; None for `cache_root`'s choice.
        progress: show a progress bar on stderr while training.

    Raises:
        UnknownChoiceError: no such recipe.
        ModelError: the cache cannot be written.
    """
    wanted = recipe(name)
    folder = cache_root(cache_dir) / name / recipe_hash(wanted)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _make(wanted, folder, progress)
    except OSError as error:
        raise ModelError(
            f"{wanted.title} cannot be kept", got=f"{error}", remedy=f"set {CACHE_VARIABLE} to a writable directory"
        ) from error
    return folder


def recipe_hash(wanted: Recipe) -> str:
    """Names everything that determines the weights, threads and hardware aside."""
    digest = hashlib.sha256()
    for module in wanted.sources:
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        digest.update(Path(spec.origin).read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library}=={version(library)}\n".encode())
    return digest.hexdigest()[:16]


def _make(wanted: Recipe, folder: Path, progress: bool) -> None:
    """Make it in a temporary sibling, then rename that: readers never see half a model."""
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        tokenizer = wanted.tokenizer()
        with _bar(wanted, progress) as report:
            model = wanted.make(tokenizer, report)
        with _quiet():
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars from transformers for a file of 3 MB."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _bar(wanted: Recipe, show: bool) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import Progress

    said = f"training {wanted.title}, once"
    with Progress(console=Console(stderr=True), disable=not (show and wanted.steps)) as bar:
        task = bar.add_task(said, total=wanted.steps)

        def report(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"{said} (loss {loss:.2f})")

        yield report
