"""Help texts. Choices are read from the yaml folders, so a new yaml is listed without an edit here."""

from __future__ import annotations

import re
import textwrap

from das.cli.paths import conf_dir

COMMANDS: dict[str, str] = {
    "train": "learn an intervention, measure it beside its controls, save the subspace",
    "sweep": "the same method at every layer and token position: a map, and the best site's subspace",
    "eval": "measure a saved subspace again, on its own task and model or on others",
    "patch": "put single activations of a clean run into a corrupted one, and see how much they carry",
    "steer": "continue prompts with and without a saved subspace",
    "fold": "write a saved subspace into a copy of the model's weights, where that is exact, and save the model",
    "compare": "finished runs side by side: what they measure, beside their controls, the best of each marked",
    "bench": "run the project's own benchmarks, about models in which the right answer is known, over seeds",
    "show": "show pairs of a task with the intervened tokens marked (loads no weights)",
    "validate": "compose a configuration and bind it to the model (loads no weights)",
    "cache": "activations that were kept on disk because memory was short: list them, remove them",
    "ls": "list models, tasks, sites, interventions, objectives, metrics, ...",
    "demo": "train on the embedded model, and see the same prompt steered both ways",
}

_EXAMPLES: dict[str, str] = {
    "train": """das train experiment=das_name_gender
das train model=hf model.path=FOLDER_OR_HUB_ID site.layer=2 intervention.rank=1 run_dir=runs/mine
das train intervention=cdas site.layer=3 trainer.batch_size=8
das train -m site.layer=0,1,2,3            one run per layer (model=tiny has six: sweep=layers)
das train ... --cfg job                    print the configuration and stop

A run folder holds config.yaml, metrics.json, subspace/, checkpoints/. The same command with the run_dir of an
interrupted run goes on with it; a finished one is never overwritten.""",
    "eval": """das eval subspace=RUN out=FILE.json
das eval subspace=RUN data.n_test=1000 metric=[iia,logit_difference]
das eval subspace=RUN judge=rules                         judge what it writes when it steers
das eval subspace=RUN model=hf model.path=OTHER allow_model_mismatch=true""",
    "sweep": """das sweep model=hf model.path=FOLDER                    all layers x all token positions, rank 1
das sweep intervention=full_vector                      patch instead of training
das sweep grid.layers=[2,3] grid.positions=[last,"span:name"] grid.ranks=[1,2,4] grid.seeds=[0,1,2]

The run folder holds heatmap.png, cells.parquet, and of the best site on validation pairs metrics.json (test pairs) and
subspace/. The same command with the run_dir of an interrupted sweep goes on with it.""",
    "patch": """das patch
das patch components=[attention_output,mlp_output] windows=[3] out=FILE.json
das patch components=[head_attention_value_output] heads=true positions=[last] direction=noising
das patch noise="span:name" positions=each model=hf model.path=FOLDER

P is the gain in probability of the clean answer, LD the share of the logit difference, KL the gain in nats.""",
    "steer": """das steer subspace=RUN prompt="There was a kind child named Tim. Tim loved to play." factor=+1
das steer subspace=RUN prompt="This is [[Zorblax]]." factor=-1     [[ ]] marks the steered words
das steer subspace=RUN prompts=FILE.txt out=FILE.json              one prompt per line

Also: factor=2, value=[0.3] (raw coordinates), op=clamp|add|ablate, positions=all, max_new_tokens=40. A prompt is taken
as typed: quotes, commas and braces mean nothing special.""",
    "fold": """das fold subspace=RUN factor=1 out=FOLDER
das fold subspace=RUN op=ablate out=FOLDER
das fold subspace=RUN factor=1 positions="from:0" out=FOLDER   every token, though trained at others

Weights act on every token. What was trained at a span may spoil the text elsewhere: read what is printed.""",
    "compare": """das compare RUN RUN ...
das compare runs/sweep out=FILE.csv                every run below a folder; or FILE.json""",
    "bench": """das bench mini
das bench mini out=FILE.json seeds=3
das bench mini only=[heq_hand,illusion] seeds=[0,7]

The file holds every gate of every seed, held or not, and is written after each: the same command goes on with it.
A file of another commit, or of other libraries, is refused and left as it is: give another one.""",
    "show": "das show task=name_gender n=4 split=test\ndas show site=last model=hf model.path=FOLDER",
    "validate": """das validate experiment=cdas_name_gender model=hf model.path=FOLDER site.layer=7
das validate intervention=loreft                       also says how the method steers, and by which factors""",
    "cache": """das cache ls
das cache prune                     everything: it is made again where it is needed
das cache prune older_than=7d       what was not used for a week (m, h, d, w)
das cache prune size=10GiB          what was not used longest, until this is left (MiB, GiB)

cache_dir=FOLDER where trainer.cache_dir was set. `trainer.cache_gib` limits the size while runs write.""",
    "ls": "das ls\ndas ls tasks",
    "demo": "das demo\ndas demo run_dir=runs/my-demo",
}

_COMPOSED = {
    "train": ("model", "task", "site", "intervention", "objective", "metric", "optimizer", "trainer", "logger",
              "experiment", "sweep"),
    "eval": ("model", "task", "metric", "judge", "trainer"),
    "steer": ("model",),
    "fold": ("model",),
    "patch": ("model", "task"),
}  # fmt: skip
#: Commands whose configuration extends that of `das train`.
_LIKE_TRAIN = ("show", "sweep")
#: Groups whose default choice is shown with its settings.
_SHOWN = ("site", "intervention", "objective", "optimizer", "trainer")
_DEFAULT = re.compile(r"^  - (\w+): (\w+)$", re.MULTILINE)


def primary(command: str) -> str:
    """The name of the primary configuration that a command composes."""
    return {"demo": "train", "validate": "train"}.get(command, command)


def overview() -> str:
    """`das --help`."""
    width = max(map(len, COMMANDS))
    lines = ["das: learn interventions on frozen language models, and steer with them", ""]
    lines += ["usage: das COMMAND [KEY=VALUE ...]", ""]
    lines += [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    lines += ["", "das COMMAND --help shows its settings. Settings are hydra overrides: GROUP=CHOICE and KEY=VALUE."]
    return "\n".join(lines)


def command_help(command: str) -> str:
    """`das COMMAND --help`."""
    lines = [f"das {command}: {COMMANDS[command]}", "", *(f"  {e}" for e in _EXAMPLES[command].splitlines())]
    config = primary(command)
    groups = _COMPOSED.get("train" if config in _LIKE_TRAIN else config, ())
    if groups:
        lines += ["", "choices", *(_wrapped(group) for group in groups)]
    for name in dict.fromkeys((config, "train" if config in _LIKE_TRAIN else config)):
        file = conf_dir() / f"{name}.yaml"
        if file.is_file():
            lines += [
                "",
                f"settings and defaults ({file})",
                *_settings(file.read_text()),
                *_of_choices(file.read_text()),
            ]
    if groups:
        lines += ["", "Hydra's own flags work too: --cfg job, --multirun, --info, --config-dir, --hydra-help."]
    return "\n".join(lines)


def choices(group: str) -> list[str]:
    """Names of a group's yaml files."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def groups() -> list[str]:
    """All groups, in alphabetical order."""
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def _wrapped(group: str) -> str:
    """A group and its choices, on as many lines as they take."""
    head = f"  {group:<13}"
    return textwrap.fill(" ".join(choices(group)), 110, initial_indent=head, subsequent_indent=" " * len(head))


def _settings(text: str) -> list[str]:
    """A primary yaml without its defaults list and hydra's own section."""
    kept, skipping = [], False
    for line in text.splitlines():
        if line and not line[0].isspace():
            skipping = line.split(":")[0] in ("defaults", "hydra") or line.startswith("#")
        if not skipping and line.strip() and "_target_" not in line:
            kept.append(f"  {line}")
    return kept


def _of_choices(text: str) -> list[str]:
    """The settings of the choices that a primary yaml makes by default."""
    lines = []
    for group, name in _DEFAULT.findall(text):
        file = conf_dir() / group / f"{name}.yaml"
        if group not in _SHOWN or not file.is_file():
            continue
        found = [line for line in file.read_text().splitlines() if line.strip() and line[0] not in "#_"]
        others = "; other choices have settings of their own" if len(choices(group)) > 1 else ""
        lines += [f"  {group}:  # {group}={name}{others}"]
        lines += [f"    {line}" for line in found]
    return lines
