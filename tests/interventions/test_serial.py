"""Interventions as plain data: what can be rebuilt, and that nothing else can be constructed."""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import das
from das.edits.clamp import Clamp
from das.edits.zero import Zero
from das.errors import ArtifactError, DasError, UnknownChoiceError
from das.featurizers.direction import Direction
from das.featurizers.rotation import Rotation
from das.interventions.base import Capabilities, Intervention
from das.interventions.serial import families, from_spec, to_spec

KINDS = {"featurizer": "featurizers", "edit": "edits", "gate": "gates"}


def example() -> Intervention:
    capabilities = Capabilities("contrast", ("add", "ablate"), per_row_factor=False)
    return Intervention(Rotation(6, 2), Clamp(2, torch.ones(2)), name="mine", capabilities=capabilities)


def spec(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(to_spec(example()))), **changes}


def test_it_survives_json():
    again = from_spec(spec())
    assert to_spec(again) == to_spec(example()) and again.capabilities == example().capabilities
    assert again.name == "mine" and isinstance(again.featurizer, Rotation) and isinstance(again.edit, Clamp)


def test_a_spec_holds_no_import_path():
    text = json.dumps(to_spec(example()))
    assert "_target_" not in text and "das." not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_folder_is_a_family(kind):
    files = {p.stem for p in (Path(das.__file__).parent / KINDS[kind]).glob("*.py")} - {"__init__", "base"}
    assert set(families(kind)) == files
    for name, cls in families(kind).items():
        assert cls.__module__ == f"das.{KINDS[kind]}.{name}" and not inspect.isabstract(cls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "family",
    ["rotatoin", "os", "base", "../x", "", ".", "__init__", "das.featurizers.rotation", "builtins", "subprocess.Popen",
     "rotation.Rotation", "torch.nn.Linear", "rotation\n", "conf"],
)  # fmt: skip
def test_an_unknown_family_is_refused_and_never_imported(kind, family, monkeypatch):
    for known in KINDS:
        families(known)  # whatever these import is imported before we look
    asked: list[str] = []
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, package=None: (asked.append(name), real(name))[1])
    before = set(sys.modules)
    with pytest.raises(UnknownChoiceError, match=f"unknown {kind} family.*Choose one of"):
        from_spec(spec(**{kind: {"family": family, "params": {}}}))
    assert set(sys.modules) == before
    assert all(name.startswith(tuple(f"das.{folder}" for folder in KINDS.values())) for name in asked), asked


def test_a_family_of_one_kind_is_none_of_another():
    with pytest.raises(UnknownChoiceError, match=r"unknown featurizer family.*'swap'"):
        from_spec(spec(featurizer={"family": "swap", "params": {"source": "x"}}))


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(UnknownChoiceError, match="Did you mean 'rotation'"):
        from_spec(spec(featurizer={"family": "rotatoin", "params": {}}))


BROKEN = {
    "no featurizer": {"featurizer": None},
    "no params": {"edit": {"family": "zero"}},
    "unknown param": {"edit": {"family": "zero", "params": {"rank": 2}}},
    "missing param": {"featurizer": {"family": "rotation", "params": {}}},
    "family is no name": {"edit": {"family": ["zero"], "params": {}}},
    "params are a list": {"edit": {"family": "swap", "params": ["source"]}},
    "unknown capability": {"capabilities": {"flies": True}},
    "capabilities are no mapping": {"capabilities": ["flies"]},
    "impossible rank": {"featurizer": {"family": "rotation", "params": {"width": 3, "rank": 9}}},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_malformed_spec_is_a_typed_error(what):
    with pytest.raises(DasError):
        from_spec(spec(**BROKEN[what]))


@pytest.mark.parametrize("key", ["method", "featurizer", "edit", "gate", "capabilities"])
def test_every_key_is_needed(key):
    incomplete = spec()
    del incomplete[key]
    with pytest.raises(ArtifactError, match=f"incomplete or malformed.*{key}"):
        from_spec(incomplete)


def test_further_keys_are_ignored_and_never_called(monkeypatch):
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("evaluated"))
    again = from_spec(spec(_target_="os.system", command="echo hello"))
    assert to_spec(again) == to_spec(example())


def test_rebuilding_gives_the_right_shapes_for_the_tensors():
    for built in (example(), Intervention(Direction(5, learned=False), Zero())):
        again = from_spec(to_spec(built))
        again.load_state_dict(built.state_dict())
        h = torch.randn(2, 1, built.width)
        assert torch.equal(built(h).activation, again(h).activation)
        wanted = [p.requires_grad for p in built.parameters()]
        assert [p.requires_grad for p in again.parameters()] == wanted
