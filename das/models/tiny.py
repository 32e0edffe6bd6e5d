"""The embedded default model: a tiny language model that this project trains itself, once per machine.

It is trained on first use by `das.models.tiny_recipe` (about a minute) and kept under the user's cache directory,
in a folder named after everything that determines the weights: the recipe's source and the library versions. Where the
cache is can be set with the environment variable DAS_CACHE.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import platformdirs
from filelock import FileLock
from transformers.utils import logging

from das.errors import ModelError
from das.models import tiny_grammar, tiny_recipe
from das.models.tiny_recipe import STEPS, Report, tiny_config, tiny_tokenizer, train_tiny
from das.tasks import names

__all__ = ["CACHE_VARIABLE", "tiny_config", "tiny_model_dir", "tiny_tokenizer"]

CACHE_VARIABLE = "DAS_CACHE"
_SOURCES = (tiny_recipe, tiny_grammar, names)
_LIBRARIES = ("torch", "transformers", "tokenizers")


def tiny_model_dir(cache_dir: Path | None = None, progress: bool = True) -> Path:
    """The folder with the tiny model and its tokenizer; trains them first where they are absent.

    Safe to call from several processes: one trains, the others wait, and a folder is either complete or not there.

    Args:
        cache_dir: root of the cache; None means $DAS_CACHE, or else the user's cache directory.
        progress: show a progress bar on stderr while training.

    Raises:
        ModelError: the cache cannot be written.
    """
    folder = _root(cache_dir) / "tiny" / recipe_hash()
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _make(folder, progress)
    except OSError as error:
        raise ModelError(
            "the tiny model cannot be kept", got=f"{error}", remedy=f"set {CACHE_VARIABLE} to a writable directory"
        ) from error
    return folder


def recipe_hash() -> str:
    """Names everything that determines the weights, threads and hardware aside."""
    digest = hashlib.sha256()
    for module in _SOURCES:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library}=={version(library)}\n".encode())
    return digest.hexdigest()[:16]


def _root(cache_dir: Path | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("das")).expanduser()


def _make(folder: Path, progress: bool) -> None:
    """Train into a temporary sibling, then rename it: readers never see half a model."""
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        tokenizer = tiny_tokenizer()
        with _bar(progress) as report:
            model = train_tiny(tokenizer, report=report)
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
def _bar(show: bool) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("training the tiny model, once", total=STEPS)

        def report(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"training the tiny model, once (loss {loss:.2f})")

        yield report
