"""A random two-layer model with a real tokenizer, and runs of it that several tests look at."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from das.cli.main import main

README = Path(__file__).parents[2] / "README.md"


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama without any training; its tokenizer knows names and pronouns."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from das.models.recipes.tiny import tiny_tokenizer

    folder = tmp_path_factory.mktemp("models") / "random, model (2)"
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=96, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def das(*args: str) -> Done:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(args))
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def run_das() -> Callable[..., Done]:
    """`run_das("train", "seed=1")` -> exit code, stdout, stderr."""
    return das


#: Settings of a training that takes about a second.
SHORT = (
    "site.layer=0", "trainer.max_steps=4", "trainer.batch_size=4", "data.n_train=16", "data.n_val=8", "data.n_test=8",
    "data.n_contrast=4", "steering.n=4", "steering.max_new_tokens=4", "data.response_tokens=4",
    "trainer.checkpoint_every=2",
)  # fmt: skip


@pytest.fixture(scope="session")
def short(random_model: Path) -> tuple[str, ...]:
    """Overrides of a training that takes about a second."""
    return ("model=hf", f"model.path={random_model}", *SHORT)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, short: tuple[str, ...]) -> Path:
    """A finished run folder."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    done = das("train", *short, f"run_dir={folder}")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `mine` of the README's section "Your own", importable and below the working directory.

    Each block of that section is a file, named in its first line.
    """
    folder = tmp_path / "mine"
    for file, content in re.findall(r"```\w+\n# mine/(\S+)\n(.*?)```", README.read_text(), re.DOTALL):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "halfway", raising=False)
    return folder
