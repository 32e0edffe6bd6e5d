"""`das fold`: the saved model writes what steering every token writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import das


def test_the_saved_model_does_what_steering_does(short: tuple[str, ...], run_das: Callable, tmp_path: Path) -> None:
    run, out, prompt = tmp_path / "run", tmp_path / "folded", "Once upon a time, there was a child named Tim."
    few = ("controls.names=[]", "steering.n=0", "logger=none", f"run_dir={run}")
    done = run_das("train", *short, "intervention=diff_means", "site.component=mlp_output", *few)
    assert done.code == 0, done.err
    done = run_das("fold", f"subspace={run}", "factor=40", f"out={out}")
    assert done.code == 2 and "das.steer, which keeps to 'span:name'" in done.err and "text may suffer" in done.err
    assert not out.exists()
    done = run_das("fold", f"subspace={run}", "factor=40", "positions=from:0", "max_new_tokens=6", f"out={out}")
    assert done.code == 0, done.err
    assert done.out.count("\nbefore ") == 2 == done.out.count("\nfolded ") and f"saved in {out}" in done.out
    subspace = das.Subspace.load(run)
    model, folded = das.load_model(subspace.model.name_or_path), das.load_model(str(out))
    with das.steer(model, subspace, 40, positions="from:0") as steering:
        [wanted] = steering.generate([prompt], 8)
    assert das.generate_text(folded, None, [prompt], 8) == [wanted] != das.generate_text(model, None, [prompt], 8)
    assert "not empty" in run_das("fold", f"subspace={run}", f"out={out}").err
