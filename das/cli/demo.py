"""`das demo`: the main job on the embedded model, explained as it goes."""

from __future__ import annotations

from rich.console import Console

from das.cli.config import Config
from das.cli.report import iia_table, steer_command, steering_lines, summary
from das.cli.terminal import console, say
from das.cli.train import Run, train
from das.tasks.base import ConceptTask
from das.training.controls.base import control, names

_MEANING = "one direction, taken from the other prompt, is enough to decide between she and he"


def job(cfg: Config) -> None:
    """Train, then tell what came out."""
    out = console()
    say(out, "das demo: where does a small language model keep the gender of a name?")
    say(out, "(the model is trained once, in about a minute, and then kept in the cache)\n")
    run = train(cfg)
    _results(out, run)
    _texts(out, run)
    for line in (*steering_lines(run.metrics, run.parts.task, run.parts.steering.factor), ""):
        say(out, line)
    say(out, f"saved in {run.folder}; try your own text:")
    say(out, f"  {steer_command(run.folder, run.parts.task)}")


def _results(out: Console, run: Run) -> None:
    rank = run.subspace.interventions.interventions[0].rank
    site, width = run.subspace.site, run.subspace.interventions.interventions[0].width
    seconds = run.metrics["train/seconds"]
    say(
        out,
        f"Learned in {seconds:.0f} s: {rank} direction out of {width}, at {site.component} of layer {site.layer}, "
        "on the name's tokens.\nBelow: how often exchanging only that between two prompts gives the pronoun of the "
        "other name, on names\nnever seen in training.\n",
    )
    say(out, "interchange intervention accuracy (IIA)")
    out.print(iia_table(run.metrics))
    say(out, f"  {'this subspace':<28} {_MEANING}")
    for name in names():
        if f"control/{name}/iia_changed" in run.metrics:
            say(out, f"  {control(name).title:<28} {control(name).meaning}")
    for line in ("", *summary(run.metrics), ""):
        say(out, line)


def _texts(out: Console, run: Run) -> None:
    """One prompt of each kind, unsteered and steered both ways."""
    from das.steering.generate import generate_text
    from das.steering.steer import steer

    task, length = run.parts.task, 24
    if not isinstance(task, ConceptTask):
        return
    for value in (task.negative, task.positive):
        prompt = next(p.text for p, label in task.prompts("test", 16, 1) if label == value)
        say(out, f"prompt          {prompt}")
        say(out, f"unsteered       {generate_text(run.model, None, [prompt], length)[0].strip()}")
        for factor, label in ((1, task.positive), (-1, task.negative)):
            with steer(run.model, run.subspace, factor) as steering:
                text = steering.generate([prompt], length)[0].strip()
            say(out, f"steered to {label.strip():<4} {text}")
        say(out, "")
