"""conf/: every yaml says exactly what its target takes, composes, and rejects typos."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from das.models.families import ModelView
from das.objectives import objective
from das.types import Site
from tests.contracts.test_interventions import build

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
#: What `das.cli.build` and whoever calls a method gives at run time.
INJECTED = {"width"}
#: Not in the yaml of any group, and composed into `train` in other ways.
WITHOUT_DEFAULT = {"experiment", "sweep"}
#: Groups of `das eval`, not of `das train`.
ONLY_EVAL = {"judge"}
FILES = sorted(CONF.rglob("*.yaml"))
IDS = [str(f.relative_to(CONF)) for f in FILES]


def targets(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a `_target_`, at any depth."""
    if isinstance(node, dict):
        if node.get("_target_"):
            yield where, node
        for key, value in node.items():
            yield from targets(value, f"{where}:{key}")


TARGETS = [t for f, i in zip(FILES, IDS, strict=True) for t in targets(yaml.safe_load(f.read_text()), i)]


def parameters(target: str) -> tuple[set[str], bool]:
    module, _, name = target.rpartition(".")
    found = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    named = {p.name for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return named, any(p.kind is p.VAR_KEYWORD for p in found)


@pytest.mark.parametrize(("where", "node"), TARGETS, ids=[where for where, _ in TARGETS])
def test_keys_are_the_constructor_s(where: str, node: dict[str, Any]) -> None:
    keys = {k for k in node if not k.startswith("_") and k != "defaults"}
    named, open_ended = parameters(node["_target_"])
    if node["_target_"].startswith("das."):
        assert keys == named - INJECTED, where
    else:  # of others' classes we list what we change
        assert keys <= named or open_ended, where
    assert bool(node.get("_partial_")) == bool(named & INJECTED), f"{where}: run-time arguments need _partial_: true"


def test_there_are_targets_in_every_group_that_instantiates() -> None:
    groups = {where.split("/")[0] for where, _ in TARGETS}
    assert {"task", "intervention", "objective", "metric", "optimizer", "trainer", "logger"} <= groups


@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "site").glob("*.yaml"))])
def test_sites_have_the_fields_of_a_site(name: str) -> None:
    node = yaml.safe_load((CONF / "site" / f"{name}.yaml").read_text())
    assert set(node) == {f.name for f in fields(Site)} | {"tied"}
    Site(**{k: v for k, v in node.items() if k != "tied"})


@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "model").glob("*.yaml"))])
def test_models_have_the_fields_of_the_model_section(name: str) -> None:
    from das.cli.build import ModelSettings

    node = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    assert set(node) == {f.name for f in fields(ModelSettings)}


def composed(config: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config, [*overrides])


CHOICES = [(p.parent.name, p.stem) for p in FILES if p.parent != CONF]


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=["/".join(c) for c in CHOICES])
def test_every_choice_composes_with_all_others_at_their_defaults(group: str, name: str) -> None:
    chosen = f"{group}=[{name}]" if group == "metric" else f"{group}={name}"
    config, given = ("eval", ["subspace=x"]) if group in ONLY_EVAL else ("train", ["run_dir=runs/x", "name=x"])
    cfg = composed(config, chosen, *given, "model.path=x", "++task.path=x", "++task.trigger=x")
    assert OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("config", ["train", "show", "sweep", "eval", "steer", "patch", "bench"])
def test_every_primary_configuration_composes(config: str) -> None:
    assert composed(config)


@pytest.mark.parametrize("typo", ["trainer.max_step=1", "site.layr=1", "intervention.rnk=2", "data.ntrain=3", "sede=1"])
def test_struct_mode_rejects_typos(typo: str) -> None:
    with pytest.raises(ConfigCompositionException):
        composed("train", typo)


def test_several_metrics_and_an_experiment_below_the_command_line() -> None:
    cfg = composed("train", "metric=[iia,logit_difference]", "experiment=cdas_name_gender", "site.layer=1")
    assert set(cfg.metric) == {"iia", "logit_difference"}
    assert (cfg.site.layer, cfg.trainer.batch_size) == (1, 8)
    assert cfg.intervention._target_.endswith("cdas") and cfg.objective._target_.endswith("JSD")


@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "intervention").glob("*.yaml"))])
def test_methods_bring_the_objective_that_they_are_trained_by(name: str) -> None:
    """The same on the command line and in Python; an objective that is asked for comes first."""
    module = importlib.import_module(f"das.methods.{name}")
    cfg = composed("train", f"intervention={name}")
    assert cfg.objective._target_ == qualified(type(objective(build(name).trained_by)))
    assert cfg.intervention._target_ == qualified(module.METHOD)
    assert composed("train", f"intervention={name}", "objective=dpo").objective._target_.endswith("DPO")


def qualified(made: Any) -> str:
    return f"{made.__module__}.{made.__qualname__}"


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_experiments_state_paper_expectation_and_command(file: Path) -> None:
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert head[0] == "# @package _global_"
    text = "\n".join(head)
    assert "arXiv" in text and "Expected" in text and f"das train experiment={file.stem}" in text


def test_the_sweep_over_layers_has_those_of_the_default_model() -> None:
    from das.cli.build import ModelSettings, meta

    asked = yaml.safe_load((CONF / "sweep" / "layers.yaml").read_text())["hydra"]["sweeper"]["params"]["site.layer"]
    assert asked == f"range({ModelView(meta(ModelSettings.of(composed('train').model))).n_layers})"


def test_every_file_but_the_primary_ones_says_what_it_is() -> None:
    from das.cli.ls import describe

    assert not [i for i, f in zip(IDS, FILES, strict=True) if not describe(f)]
