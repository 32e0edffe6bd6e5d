"""Two processes that share the rows of every step learn what one process with batches twice as large learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import das
from das.tasks.name_gender import NameGender
from tests.toy import save_toy_model

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, sys, warnings
import torch
torch.set_num_threads(1)
import das
from das.tasks.name_gender import NameGender
from tests.training.test_processes import learned
torch.save(learned(sys.argv[1], devices=2, batch_size=4), f"{sys.argv[2]}/{os.environ['RANK']}.pt")
"""


def learned(folder: str, devices: int, batch_size: int) -> torch.Tensor:
    """A basis after a few steps, with batches accumulated and a last batch that is not full."""
    settings = das.FitSettings(
        das.DataSettings(n_train=20, n_val=4, n_test=4, n_contrast=4), das.AdamW(lr=0.02),
        das.TrainerSettings(max_steps=5, batch_size=batch_size, accumulate=2, devices=devices, progress=False),
        das.ControlSettings(names=()),
    )  # fmt: skip
    fit = das.fit(das.load_model(folder), NameGender(), das.method("das", rank=2), das.Site(0), settings=settings)
    return fit.subspace.interventions[0].featurizer.basis.detach()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_are_one(tmp_path):
    model = str(save_toy_model(tmp_path / "toy"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, model, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = learned(model, devices=1, batch_size=8)
    assert torch.equal(first, second)
    assert float((first - alone).abs().max()) <= 1e-6
    assert float((first - learned(model, devices=1, batch_size=4)).abs().max()) > 1e-4  # the control: other steps
