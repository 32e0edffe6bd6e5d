"""`das steer`: prompts continued with and without a saved subspace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.rule import Rule
from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.hydra_app import launch
from das.cli.quiet import quiet
from das.cli.recorded import load_subspace, recorded_model
from das.cli.report import console, say
from das.cli.run_folder import write_json
from das.errors import ConfigError, InputError
from das.steering.generate import generate_text
from das.steering.steer import steer
from das.types import Prompt

_BATCH = 32

Continued = dict[str, Any]


def command(args: Sequence[str]) -> int:
    """Entry point of `das steer`."""
    return launch("steer", "steer", args, job)


def job(cfg: Config) -> None:
    """Continue, print, write."""
    quiet()
    texts = prompts_of(cfg)
    subspace, _ = load_subspace(str(cfg.subspace))
    model = build.model(recorded_model(subspace, cfg.get("model")))
    found: list[Continued] = []
    for start in range(0, len(texts), _BATCH):
        found += continued(model, subspace, texts[start : start + _BATCH], cfg)
    if cfg.out is not None:
        write_json(Path(str(cfg.out)), found if cfg.prompts is not None else found[0])
    print_continued(found)


def continued(model: nn.Module, subspace: Subspace, texts: Sequence[str], cfg: Config) -> list[Continued]:
    """Each prompt with both continuations."""
    value: Any = OmegaConf.to_container(cfg.value) if OmegaConf.is_config(cfg.value) else cfg.value
    factor = _number(cfg.factor, "factor")
    with steer(
        model, subspace, factor, value=value, op=cfg.op, positions=cfg.positions,
        allow_model_mismatch=bool(cfg.allow_model_mismatch),
    ) as steering:  # fmt: skip
        steered = steering.generate(list(texts), int(cfg.max_new_tokens))
    plain = generate_text(model, None, list(texts), int(cfg.max_new_tokens), like=subspace)
    given: Continued = {"factor": factor} if value is None else {"factor": None, "value": value}
    return [
        {"prompt": text, "unsteered": before, "steered": after, **given}
        for text, before, after in zip(texts, plain, steered, strict=True)
    ]


def prompts_of(cfg: Config) -> list[str]:
    """The prompt, or the lines of the file of prompts.

    Raises:
        ConfigError: neither or both are given.
        InputError: the file cannot be read, or holds no prompt.
    """
    if (cfg.prompt is None) == (cfg.prompts is None):
        raise ConfigError("give prompt=... or prompts=FILE.txt", got="both" if cfg.prompt is not None else "neither")
    if cfg.prompt is not None:
        if not str(cfg.prompt):
            raise InputError("the prompt is empty", remedy='give prompt="some text"')
        return [str(cfg.prompt)]
    try:
        lines = Path(str(cfg.prompts)).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the file of prompts cannot be read", got=str(cfg.prompts), remedy=str(error)) from error
    found = [line for line in lines if line.strip()]
    if not found:
        raise InputError("the file holds no prompt", got=str(cfg.prompts), remedy="write one prompt per line")
    return found


def print_continued(found: Sequence[Continued]) -> None:
    """Both continuations of every prompt."""
    out = console()
    for one in found:
        say(out, f"prompt     {Prompt.from_marked(one['prompt']).text}")
        say(out, f"unsteered  {one['unsteered'].strip()}")
        how = f"factor {one['factor']:+g}" if one["factor"] is not None else f"value {one['value']}"
        say(out, f"steered    {one['steered'].strip()}   ({how})")
        if one is not found[-1]:
            out.print(Rule(style="dim"))


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number", got=value, remedy=f"give {name}=+1 or {name}=-1") from error
