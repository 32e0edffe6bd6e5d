"""`das fold`: a plain model with a saved subspace written into its weights, and what it writes then."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.program import program
from das.cli.quiet import quiet
from das.cli.recorded import load_subspace, recorded_model, recorded_task
from das.cli.steer import number
from das.cli.terminal import console, say
from das.cli.typed import truth, whole
from das.errors import DasError, InputError
from das.folding.fold import fold
from das.steering.generate import generate_text
from das.tasks.base import ConceptTask


def job(cfg: Config) -> None:
    """Fold, save, show.

    Raises:
        InputError: `out` holds something.
        CapabilityError: it cannot be exact; the message says why.
        DasError: the subspace or the model cannot be used.
    """
    quiet()
    out, length = Path(str(cfg.out)).expanduser(), whole(cfg.max_new_tokens, "max_new_tokens")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("out is not empty", got=str(cfg.out), remedy="give a new folder")
    mismatch = truth(cfg.allow_model_mismatch, "allow_model_mismatch")
    factor = None if cfg.factor is None else number(cfg.factor, "factor")
    subspace, _ = load_subspace(cfg)
    chosen = recorded_model(subspace, cfg.get("model"))
    model = build.model(chosen)
    folded: Any = fold(
        model, subspace, factor, value=build.plain(cfg)["value"], op=cfg.op, positions=cfg.positions,
        allow_model_mismatch=mismatch,
    )  # fmt: skip
    _save(out, folded, build.tokenizer(chosen))
    for prompt in _prompts(subspace):
        _show(prompt, {"before": model, "folded": folded}, length)
    say(console(), f"saved in {out}: every token is edited, without hooks. It is a model like others:")
    say(console(), f"  {program()} validate model=hf {shlex.quote(f'model.path={out}')}")


def _save(out: Path, folded: Any, tokenizer: Any) -> None:
    """A folder that is either complete or not there."""
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        folded.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise InputError("the model cannot be saved", got=str(out), remedy=error.strerror or "") from error


def _prompts(subspace: Subspace) -> list[str]:
    """One prompt of each concept value, where the artifact's task has them."""
    try:
        task = recorded_task(subspace, None)
    except DasError:
        return []
    if not isinstance(task, ConceptTask):
        return []
    drawn = task.prompts("test", 16, 0)
    return [next(p.text for p, label in drawn if label == value) for value in (task.positive, task.negative)]


def _show(prompt: str, models: Mapping[str, nn.Module], length: int) -> None:
    say(console(), f"prompt  {prompt}")
    for name, model in models.items():
        say(console(), f"{name:<7} {generate_text(model, None, [prompt], length)[0].strip()}")
    say(console(), "")
