"""What every test runs under: no network, few threads, a fixed seed; and where the shared material is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Set before anything reads them, and inherited by the processes that tests start. In-process sockets are blocked by
# pytest-socket (see pyproject.toml). DAS_CACHE is left alone, so that the tiny model is trained once per machine.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MPLBACKEND": "Agg",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait must not keep a core from others that work
}
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(THREADS)
# Machines are shared, so no per-example deadline; the same examples every time, so that a red run can be repeated.
settings.register_profile("das", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("das")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same torch seed, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_path() -> Callable[[str], Path]:
    """`shared_path("models/stories3M")` is that file or folder of ../shared, or skips the test where it is absent."""

    def find(relative: str) -> Path:
        path = ROOT.parent / "shared" / relative
        if not path.exists():
            pytest.skip(f"needs ../shared/{relative}, which is not on this machine")
        return path

    return find
