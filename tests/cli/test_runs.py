"""The commands end to end, on a random two-layer model."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from das.artifacts.subspace import Subspace

KEYS = {
    "iia", "iia_changed", "iia_unchanged", "control/no_intervention/iia", "control/random_subspace/iia",
    "control/random_subspace/iia_changed", "iia_full_vocab", "control/full_vector/iia_changed",
    "control/wrong_site/iia_changed", "control/shuffled_labels/iia_changed", "model/accuracy", "train/steps",
    "train/seconds", "engine/tier", "seed",
}  # fmt: skip
PROMPT = 'Once upon a time, there was a "kind" child named [[Zorblax]], {ok}: ${x}'


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_train_writes_the_stable_surface(trained: Path) -> None:
    metrics = read(trained / "metrics.json")
    assert metrics.keys() >= KEYS and list(metrics) == sorted(metrics)
    assert metrics["train/steps"] == 4 and metrics["seed"] == 0
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["run_dir"] == str(trained) and "hydra" not in config
    assert {p.name for p in trained.iterdir()} >= {"config.yaml", "metrics.json", "subspace", "checkpoints", "csv"}
    assert not list(trained.glob("**/.hydra")) and not list(trained.glob("*.log"))


def test_the_artifact_says_how_it_was_made(trained: Path, random_model: Path) -> None:
    subspace = Subspace.load(trained / "subspace")
    training = subspace.training
    assert training["command"].startswith("das train model=hf") and "job_logging" not in training["command"]
    assert training["choices"]["task"] == "name_gender" and training["model"]["path"] == str(random_model)
    assert {"torch", "das", "transformers"} <= set(training["versions"])
    assert "_target_" not in (trained / "subspace" / "das_config.json").read_text()
    assert subspace.metrics["iia"] == read(trained / "metrics.json")["iia"]


def test_the_curves_and_the_final_numbers_are_logged(trained: Path) -> None:
    (log,) = trained.glob("csv/version_*/metrics.csv")
    head = log.read_text().splitlines()[0]
    assert "iia_changed" in head and "engine/tier" not in head


def test_a_finished_run_is_refused_and_left_alone(trained: Path, short: tuple[str, ...], run_das: Callable) -> None:
    before = (trained / "metrics.json").read_bytes()
    done = run_das("train", *short, f"run_dir={trained}")
    assert done.code == 2 and "finished run" in done.err
    assert (trained / "metrics.json").read_bytes() == before


def test_an_interrupted_run_goes_on(trained: Path, short: tuple[str, ...], run_das: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    (folder / "metrics.json").unlink()
    done = run_das("train", *short, f"run_dir={folder}", "seed=1")
    assert done.code == 2 and "seed (0 -> 1)" in done.err
    done = run_das("train", *short, f"run_dir={folder}")
    assert done.code == 0, done.err
    one, two = (Subspace.load(f / "subspace").basis() for f in (trained, folder))
    assert (one - two).abs().max() < 1e-6
    assert {p.name for p in (folder / "csv").iterdir()} == {"version_0", "version_1"}  # the old curves are kept


def test_eval_repeats_what_train_reported(trained: Path, random_model: Path, run_das: Callable, tmp_path: Path) -> None:
    out = tmp_path / "some where" / "e, 1.json"
    args = (f"subspace={trained}", f"out={out}", "steering.n=4", "steering.max_new_tokens=4")
    done = run_das("eval", *args)
    assert done.code == 0, done.err
    before, after = read(trained / "metrics.json"), read(out)
    about = {
        "subspace": str(trained / "subspace"),
        "model": str(random_model),
        "command": shlex.join(["das", "eval", *args]),
    }
    assert {key: after.pop(key) for key in about} == about
    trained_only = {k for k in before if k.startswith(("train/", "engine/tier", "data/train"))}
    assert before.keys() - trained_only == after.keys()
    assert {k: before[k] for k in after} == pytest.approx(after, abs=1e-6)
    assert all(key in done.out for key in KEYS - trained_only)


def test_eval_with_a_judge(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    out, few = tmp_path / "j.json", ("judging.n=4", "judging.max_new_tokens=4", "judging.factors=[1,2]")
    only = ("steering.n=0", "controls.names=[no_intervention]", f"out={out}")
    done = run_das("eval", f"subspace={trained}", "judge=rules", "judging.value=negative", *few, *only)
    assert done.code == 0, done.err
    found = read(out)
    assert found["judge/factor"] in (-1.0, -2.0) and 0.0 <= found["judge/score"] <= 2.0
    assert {"judge/concept", "judge/instruct", "judge/fluency", "judge/chosen_by"} <= set(found)
    assert run_das("eval", f"subspace={trained}", "judge=rules", "judging.value=neutral").code == 2


def test_eval_refuses_another_model_unless_told(
    trained: Path, random_model: Path, run_das: Callable, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(random_model, other)
    tensors = load_file(other / "model.safetensors")
    save_file({k: v + torch.ones_like(v) for k, v in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    args = ("eval", f"subspace={trained}", "model=hf", f"model.path={other}", "steering.n=0")
    done = run_das(*args)
    assert done.code == 2 and "another model" in done.err
    assert run_das(*args, "allow_model_mismatch=true", "controls.names=[no_intervention]").code == 0


def test_steer_writes_what_was_asked(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    args = (f"subspace={trained}", f"prompt={PROMPT}", f"out={out}", "max_new_tokens=5")
    done = run_das("steer", *args, "factor=+1")
    assert done.code == 0, done.err
    found = read(out)
    assert set(found) == {"prompt", "unsteered", "steered", "factor"}
    assert found["prompt"] == PROMPT and found["factor"] == 1.0
    assert "Zorblax" in done.out and "[[" not in done.out
    assert run_das("steer", *args, "factor=0").code == 2


def test_steer_a_file_of_prompts(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    file, out = tmp_path / "p.txt", tmp_path / "s.json"
    file.write_text("Lily is here.\n\nTim, and [[Bob]]\n")
    done = run_das("steer", f"subspace={trained}", f"prompts={file}", f"out={out}", "max_new_tokens=3", "factor=-2")
    assert done.code == 0, done.err
    assert [one["prompt"] for one in read(out)] == ["Lily is here.", "Tim, and [[Bob]]"]
    assert run_das("steer", f"subspace={trained}", f"prompts={file}", "prompt=x").code == 2
    assert "cannot be read" in run_das("steer", f"subspace={trained}", "prompts=nowhere.txt").err


def test_steer_without_a_known_name_says_what_to_do(trained: Path, run_das: Callable) -> None:
    done = run_das("steer", f"subspace={trained}", "prompt=Nobody here")
    assert done.code == 2 and "[[" in done.err


def test_steer_other_operations(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    args = ("steer", f"subspace={trained}", "prompt=Tim ran.", f"out={out}", "max_new_tokens=2")
    assert run_das(*args, "op=ablate").code == 0
    assert run_das(*args, "value=[0.3]").code == 0 and read(out)["value"] == [0.3]
    assert run_das(*args, "op=add", "positions=all").code == 0
    assert "clamp" in run_das(*args, "op=melt").err


def test_a_multirun_trains_each_job_in_its_own_folder(
    short: tuple[str, ...], run_das: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    short = tuple(o if not o.startswith("model.path=") else o.replace("=", "='") + "'" for o in short)  # it has a comma
    args = (*short, f"run_dir={folder}", "site.layer=0,1", "controls.names=[no_intervention]", "steering.n=0")
    done = run_das("train", *args, "-m", "logger=none")
    assert done.code == 0, done.err
    for job in (0, 1):
        config = yaml.safe_load((folder / str(job) / "config.yaml").read_text())
        assert config["site"]["layer"] == job and (folder / str(job) / "metrics.json").exists()


def test_cdas_trains_on_contrasts_at_several_sites(short: tuple[str, ...], run_das: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "cdas"
    args = ("experiment=cdas_name_gender", *short, f"run_dir={folder}", "site.layer=[0,1]", "logger=none")
    done = run_das("train", *args, "controls.names=[random_subspace]", "metric=[iia,logit_difference]")
    assert done.code == 0, done.err
    subspace = Subspace.load(folder / "subspace")
    assert [p.write.layer for p in subspace.interventions.placements] == [0, 1]
    assert "logit_difference_changed" in read(folder / "metrics.json")


def test_wandb_works_offline(short: tuple[str, ...], run_das: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    args = (*short, f"run_dir={folder}", "logger=wandb", "logger.offline=true", "controls.names=[no_intervention]")
    done = run_das("train", *args)
    assert done.code == 0, done.err
    [run] = folder.glob("wandb/offline-run-*")
    assert list(run.glob("*.wandb")) and re.search(rf"wandb sync \S*{run.name}$", done.out, re.MULTILINE)


def test_show_marks_tokens_and_validate_binds(short: tuple[str, ...], run_das: Callable) -> None:
    shown = run_das("show", *short, "n=2", "split=test")
    assert shown.code == 0 and shown.out.count("pair ") == 2 and "⟦" in shown.out
    bound = run_das("validate", *short)
    assert bound.code == 0 and "model.layers.0" in bound.out and "32 parameters" in bound.out


def test_the_configuration_can_be_printed(run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "das.cli.main", "train", "seed=7", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["seed"] == 7
    assert not list(tmp_path.iterdir())


def test_the_demo_on_the_embedded_model(run_das: Callable, tmp_path: Path) -> None:
    """Short, so that the numbers mean little; `make demo` is the same with its own settings."""
    sizes = ("data.n_train=64", "data.n_val=16", "data.n_test=32", "data.n_contrast=8", "steering.n=4")
    done = run_das("demo", "trainer.max_steps=20", *sizes, f"run_dir={tmp_path / 'demo'}")
    assert done.code == 0, done.err
    assert done.out.count("\nunsteered ") == 2 and done.out.count("steered to she") == 2 == done.out.count(
        "steered to he "
    )
    metrics = read(tmp_path / "demo" / "metrics.json")
    assert metrics["model/accuracy"] > 0.9
    assert metrics["steer/to_positive/flipped"] > 0.5 > metrics["control/random_subspace/steer/to_positive/flipped"]
    assert "random subspace" in done.out and "das steer subspace=" in done.out and "(unsteered 0%, random" in done.out


def test_contrasts_without_labels_are_trained_and_measured_by_what_applies(run_das, short, tmp_path):
    """The default metrics compare the labels of a label set; the file has responses, and nothing learned gets lost."""
    rows = [
        {"negative_input": f"{name} went outside.", "negative_output": " He was happy.", "entity": name,
         "positive_input": f"{name} loved the sun.", "positive_output": " The sun was big."}
        for name in ("Tom", "Tim", "Lily", "Mia", "Sue", "Ben", "Max", "Anna", "Jack", "Lucy", "Sam", "Sara")
    ]  # fmt: skip
    file, folder = tmp_path / "concept.jsonl", tmp_path / "run"
    file.write_text("\n".join(map(json.dumps, rows)))
    done = run_das(
        "train", *short, "task=contrast", f"task.path={file}", "intervention=cdas", "objective=jsd", "site=last",
        "controls.names=[no_intervention]", "logger=none", f"run_dir={folder}",
    )  # fmt: skip
    assert done.code == 0, done.err
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "label set" in metrics["metric/iia/not_measured"] and "iia" not in metrics
    assert 0 <= metrics["iia_full_vocab"] <= 1 and "control/no_intervention/iia_full_vocab" in metrics
    assert "left out: metric iia" in done.out
    refused = run_das("train", *short, "task=contrast", f"task.path={file}", "intervention=cdas", "objective=jsd",
                      "metric=[iia]", "site=last", f"run_dir={tmp_path / 'no'}")  # fmt: skip
    assert refused.code == 2 and "all of the metrics" in refused.err and not (tmp_path / "no").exists()
