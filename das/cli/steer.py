"""`das steer`: prompts continued with and without a saved subspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.rule import Rule
from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.quiet import quiet
from das.cli.recorded import load_subspace, recorded_model
from das.cli.run_folder import check_out, write_json
from das.cli.terminal import console, say
from das.cli.typed import truth, whole
from das.data.positions import parse_positions
from das.errors import CapabilityError, ConfigError, DasError, InputError
from das.steering.concepts import check_concept
from das.steering.generate import generate_text
from das.steering.operations import operation
from das.steering.prompted import check_positions
from das.steering.prompts import PromptReader
from das.steering.steer import steer
from das.steering.tables import tabulate
from das.types import Prompt

_BATCH = 32

Continued = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What to do to every prompt."""

    factor: float | None
    value: Any
    op: str | None
    positions: str | None
    concept: str | None
    max_new_tokens: int
    allow_model_mismatch: bool

    @classmethod
    def of(cls, cfg: Config) -> Asked:
        """From the command line.

        Raises:
            DasError: a value of another type, or no new token.
        """
        length = whole(cfg.max_new_tokens, "max_new_tokens")
        if length < 1:
            raise InputError("max_new_tokens must be at least 1", got=length)
        value: Any = OmegaConf.to_container(cfg.value) if OmegaConf.is_config(cfg.value) else cfg.value
        factor = None if cfg.factor is None else number(cfg.factor, "factor")
        mismatch = truth(cfg.allow_model_mismatch, "allow_model_mismatch")
        return cls(factor, value, cfg.op, cfg.positions, cfg.concept, length, mismatch)


def job(cfg: Config) -> None:
    """Check, continue, print, write."""
    quiet()
    texts, asked = prompts_of(cfg), Asked.of(cfg)
    check_out(cfg.out)
    subspace, _ = load_subspace(cfg)
    chosen = recorded_model(subspace, cfg.get("model"))
    check(subspace, chosen, texts, asked, file=cfg.prompts)
    model = build.model(chosen)
    found: list[Continued] = []
    prompts = list(texts.values())
    for start in range(0, len(prompts), _BATCH):
        found += continued(model, subspace, prompts[start : start + _BATCH], asked)
    print_continued(found)
    if cfg.out is not None:
        write_json(Path(str(cfg.out)).expanduser(), found if cfg.prompts is not None else found[0])
        say(console(), f"written to {cfg.out}")


def check(
    subspace: Subspace, chosen: build.ModelSettings, texts: dict[int, str], asked: Asked, file: str | None = None
) -> None:
    """What can be known before weights are loaded: operation, positions in every prompt, lengths.

    Raises:
        DasError: something would go wrong; what is wrong with a line of `file` names it.
    """
    what = operation(subspace, asked.op, asked.factor, asked.value)
    if asked.factor is not None and asked.value is None and what.factor is None:
        raise CapabilityError(
            f"operation {what.name!r} has no factor", got=f"factor {asked.factor:g}", remedy="leave factor out"
        )
    made = what.interventions
    check_concept(subspace, asked.concept)
    skeleton = build.meta(chosen)
    subspace.check_sites(skeleton)
    sites = [p.write.positions for p in subspace.interventions.placements]
    specs = [parse_positions(asked.positions or positions) for positions in sites]
    for x, spec in zip(made, specs, strict=True):
        check_positions(x, spec)
    reader = PromptReader(skeleton, subspace, specs, build.tokenizer(chosen))
    for number, text in texts.items():
        try:
            [encoded] = reader.from_texts([text])
            reader.encoder.check_length(encoded, asked.max_new_tokens - 1)
            for spec in dict.fromkeys(specs):
                tabulate(spec, [encoded], torch.device("cpu"), subspace.finder)
        except DasError as error:
            if file is None:
                raise
            raise InputError(f"{file}, line {number}: {error.what}", got=error.got, remedy=error.remedy) from error


def continued(model: nn.Module, subspace: Subspace, texts: Sequence[str], asked: Asked) -> list[Continued]:
    """Each prompt with both continuations."""
    value = asked.value
    with steer(
        model, subspace, asked.factor, value=value, op=asked.op, positions=asked.positions,
        concept=asked.concept, allow_model_mismatch=asked.allow_model_mismatch,
    ) as steering:  # fmt: skip
        steered = steering.generate(list(texts), asked.max_new_tokens)
        factor = None if steering.factor is None else float(steering.factor)
        given: Continued = {"factor": factor}
        if factor is None:
            given |= {"op": steering.op} if value is None else {"value": value}
    plain = generate_text(model, None, list(texts), asked.max_new_tokens, like=subspace)
    given |= {} if asked.concept is None else {"concept": asked.concept}
    return [
        {"prompt": text, "unsteered": before, "steered": after, **given}
        for text, before, after in zip(texts, plain, steered, strict=True)
    ]


def prompts_of(cfg: Config) -> dict[int, str]:
    """Line number -> prompt: the prompt given, or the lines of the file of prompts that are not empty.

    Raises:
        ConfigError: neither or both are given.
        InputError: the file cannot be read, or holds no prompt.
    """
    if (cfg.prompt is None) == (cfg.prompts is None):
        raise ConfigError("give prompt=... or prompts=FILE.txt", got="both" if cfg.prompt is not None else "neither")
    if cfg.prompt is not None:
        if not str(cfg.prompt):
            raise InputError("the prompt is empty", remedy='give prompt="some text"')
        return {1: str(cfg.prompt)}
    try:
        lines = Path(str(cfg.prompts)).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the file of prompts cannot be read", got=str(cfg.prompts), remedy=str(error)) from error
    found = {number: line for number, line in enumerate(lines, 1) if line.strip()}
    if not found:
        raise InputError("the file holds no prompt", got=str(cfg.prompts), remedy="write one prompt per line")
    return found


def print_continued(found: Sequence[Continued]) -> None:
    """Both continuations of every prompt."""
    out = console()
    for one in found:
        how = f"value {one['value']}" if "value" in one else one.get("op", "")
        how = how if one["factor"] is None else f"factor {one['factor']:+g}"
        steered, prompt = f"steered ({how})", Prompt.from_marked(one["prompt"]).text
        for name, text in (("prompt", prompt), ("unsteered", one["unsteered"]), (steered, one["steered"])):
            say(out, f"{name:<{len(steered)}}  {text.strip()}")
        if one is not found[-1]:
            out.print(Rule(style="dim"))


def number(value: Any, name: str) -> float:
    """A number, or an `InputError`."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number", got=value, remedy=f"give {name}=+1 or {name}=-1") from error
