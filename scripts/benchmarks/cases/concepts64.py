"""64 concepts of CDAS trained by one `das train -m` against a `das train` for each, start-up included.

Every concept is a thing that a story is about, in a file of contrast quadruples that is written here; the model is
../shared/models/stories3M where it is present, else the tiny model. Four of the separate runs are carried out; their
median times 64 stands for all. Equal: the learned subspaces of both sides.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file

from scripts.benchmarks.harness import Result, paired, same
from scripts.benchmarks.setting import timed

BAR = ">= 3 of wall time; never slower per step"
STEPS, ROWS_PER_STEP, ALONE = 60, 8, 4
MODEL = Path(__file__).resolve().parents[4] / "shared" / "models" / "stories3M"
WORDS = """
    dog cat bird fish frog bear duck cow pig horse tree flower apple cake ball kite boat car train truck doll book
    hat shoe coat sun moon star rain snow wind sea river lake hill park farm shop school house door bed chair
    table cup spoon box bag toy drum bell ring key map cave castle king queen dragon fairy robot ghost clown baker
"""
NAMES = ("Tom", "Tim", "Lily", "Mia", "Sue", "Ben", "Max", "Anna", "Jack", "Lucy", "Sam", "Sara")
DOINGS = ("went outside", "woke up early", "felt very happy", "took a long walk")


def run() -> Result:
    """Separate runs of some concepts, then all of them in one run."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = [_write(folder / f"{thing}.jsonl", thing) for thing in WORDS.split()]
        chosen = range(0, len(files), len(files) // ALONE)
        alone = [timed(lambda n=n: _train(folder / f"alone{n}", [files[n]]))[0] for n in chosen]
        together, _ = timed(lambda: _train(folder / "all", files))
        pairs = [(folder / f"alone{n}", folder / "all" / str(n)) for n in chosen]
        errors = [_equal(*pair) for pair in pairs]
        steps = [[_metrics(one)["train/seconds"] / STEPS for one in pair] for pair in pairs]
    per_step, _ = paired(*zip(*steps, strict=True))
    worst = max(e["grad_rel_err"] for e in errors)
    median = statistics.median(alone)
    notes = {"model": MODEL.name if MODEL.is_dir() else "tiny", "steps": STEPS, "per_step_ratio": per_step,
             "learned_rel_err": worst,
             "one_run_seconds": round(together, 1), "separate_seconds_each": round(median, 1)}  # fmt: skip
    return Result(
        len(files) * median / together, peer_ms=1e3 * median, das_ms=1e3 * together / len(files), notes=notes,
    )  # fmt: skip


def _write(file: Path, thing: str) -> Path:
    rows = []
    for name in NAMES:
        for doing in DOINGS:
            prompt = f"Once upon a time, {name} {doing}."
            rows.append({
                "negative_input": prompt,
                "negative_output": f" {name} wanted to play all day long. Then it was time to go home.",
                "positive_input": f"{prompt} {name} loved the {thing}.",
                "positive_output": f" The {thing} was big. {name} liked the {thing} and played with it all day.",
                "entity": name,
            })  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def _train(folder: Path, files: list[Path]) -> None:
    model = ["model=hf", f"model.path={MODEL}", "site.layer=3"] if MODEL.is_dir() else ["model=tiny", "site.layer=2"]
    settings = [
        *model, "task=contrast", f"task.path={','.join(map(str, files))}", "intervention=cdas", "objective=jsd",
        "site=all", "site.source_positions=last", f"trainer.max_steps={STEPS}", f"trainer.batch_size={ROWS_PER_STEP}",
        "optimizer.lr=0.04", "controls.names=[]", "steering.n=0", "logger=none", f"run_dir={folder}",
    ]  # fmt: skip
    multirun = ["-m"] if len(files) > 1 else []
    command = [sys.executable, "-m", "das.cli.main", "train", *multirun, *settings]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def _equal(alone: Path, together: Path) -> dict[str, float]:
    """What was learned, and what it does on test pairs."""
    found = [load_file(next((folder / "subspace").glob("*.safetensors"))) for folder in (alone, together)]
    one, other = (next(t for name, t in x.items() if t.dim() == 2 and "featurizer" in name) for x in found)
    metrics = [_metrics(folder)["iia_full_vocab"] for folder in (alone, together)]
    assert metrics[0] == metrics[1], metrics
    return same((one.norm(), other.norm()), (one, other))


def _metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())
