"""Interventions as plain data: what can be rebuilt, and that nothing else can be constructed."""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import pytest
import torch

import das
from das.context import Context
from das.edits.add import Add
from das.edits.base import Edit, EditResult
from das.edits.clamp import Clamp
from das.edits.zero import Zero
from das.errors import ArtifactError, DasError, InputError, UnknownChoiceError
from das.featurizers.direction import Direction
from das.featurizers.rotation import Rotation
from das.interventions import serial
from das.interventions.base import Intervention
from das.interventions.serial import from_spec, known, register_part, to_spec
from das.part import Part

KINDS = {"featurizer": "featurizers", "edit": "edits", "gate": "gates"}


def example() -> Intervention:
    steering = {"push": Add(2, unit="maximum"), "ablate": Zero()}
    return Intervention(Rotation(6, 2), Clamp(2, torch.ones(2)), steering=steering, name="mine")


def spec(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(to_spec(example()))), **changes}


def test_it_survives_json():
    again = from_spec(spec())
    assert to_spec(again) == to_spec(example()) and again.operations == ("as_trained", "push", "ablate")
    assert again.name == "mine" and isinstance(again.featurizer, Rotation) and isinstance(again.edit, Clamp)
    assert again.steering["push"].unit == "maximum"


def test_a_spec_holds_nothing_to_run():
    text = json.dumps(to_spec(example()))
    assert "_target_" not in text and text.count('"class"') == 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_das_is_known(kind):
    files = {p.stem for p in (Path(das.__file__).parent / KINDS[kind]).glob("*.py")} - {"__init__", "base"}
    found = known(kind)
    for name in found:
        module, cls = name.split(":")
        assert not inspect.isabstract(getattr(importlib.import_module(module), cls))
    named = {name.split(":")[0].rpartition(".")[2] for name in found}
    helpers = {f for f in files if not any(issubclass(c, Part) for c in _classes(f"das.{KINDS[kind]}.{f}"))}
    assert named >= files - helpers


def _classes(module: str) -> list[type]:
    found = importlib.import_module(module)
    return [c for c in vars(found).values() if inspect.isclass(c) and c.__module__ == module]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["rotation", "os:system", "das.featurizers.base:Featurizer", "das.featurizers.rotation:Parametrization", "../x:Y",
     "", ":", "das.featurizers.rotation:", "das.cli.main:main", "das.interventions.base:Intervention", "builtins:eval",
     "subprocess:Popen", "das.featurizers.rotation.x:Rotation", "torch.nn:Linear", "das.featurizers.nothing:Nothing",
     "das.featurizers.rotation\n:Rotation", "das.featurizers.rotation:Featurizer"],
)  # fmt: skip
def test_an_unknown_part_is_refused_and_nothing_foreign_is_imported(kind, name, monkeypatch):
    for each in KINDS:
        known(each)  # whatever these import is imported before we look
    asked: list[str] = []
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda n, package=None: (asked.append(n), real(n))[1])
    before = set(sys.modules)
    with pytest.raises(UnknownChoiceError, match=f"unknown {kind} in an artifact.*Choose one of"):
        from_spec(spec(**{kind: {"class": name, "params": {}}}))
    assert set(sys.modules) == before
    assert all(n.startswith(serial._PACKAGES) for n in asked), asked


def test_a_part_of_one_kind_is_none_of_another():
    with pytest.raises(UnknownChoiceError, match=r"unknown featurizer.*das.edits.swap:Swap"):
        from_spec(spec(featurizer={"class": "das.edits.swap:Swap", "params": {"source": "x"}}))


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(UnknownChoiceError, match=r"Did you mean 'das\.featurizers\.rotation:Rotation'"):
        from_spec(spec(featurizer={"class": "das.featurizers.rotatoin:Rotation", "params": {}}))


@final
class Doubled(Edit):
    """A user's edit, in a module that is not das's."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def forward(self, z: Any, h: Any, sources: Mapping[str, Any], ctx: Context) -> EditResult:
        return self.times * z, {}

    def params(self) -> dict[str, Any]:
        return {"times": self.times}


@pytest.fixture
def _registry() -> Iterator[None]:
    before = dict(serial._registered)
    yield
    serial._registered.clear()
    serial._registered.update(before)


@pytest.mark.usefixtures("_registry")
def test_a_users_part_is_refused_at_save_until_it_is_registered():
    mine = Intervention(Rotation(6, 2), Doubled(3.0))
    with pytest.raises(ArtifactError, match=r"could not be found again.*das\.register_part"):
        to_spec(mine)
    assert register_part(Doubled) is Doubled
    again = from_spec(json.loads(json.dumps(to_spec(mine))))
    assert isinstance(again.edit, Doubled) and again.edit.times == 3.0


@pytest.mark.usefixtures("_registry")
def test_a_part_of_the_main_script_needs_a_name(monkeypatch):
    """`__main__:Doubled` would be found by nobody, or be somebody else's."""
    monkeypatch.setattr(Doubled, "__module__", "__main__")
    with pytest.raises(InputError, match=r"main script.*__main__:Doubled.*register_part\(name="):
        register_part(Doubled)
    with pytest.raises(InputError, match="das's own"):
        register_part(name="das.edits.doubled:Doubled")(Doubled)
    assert register_part(name="doubled")(Doubled) is Doubled
    described = to_spec(Intervention(Rotation(6, 2), Doubled(3.0)))
    assert described["edit"]["class"] == "doubled" and "doubled" in known("edit")
    assert isinstance(from_spec(described).edit, Doubled)


@pytest.mark.usefixtures("_registry")
def test_a_users_part_is_never_taken_for_one_of_das_that_has_its_name():
    class Rotation(Edit):
        def forward(self, z: Any, h: Any, sources: Mapping[str, Any], ctx: Context) -> EditResult:
            return 2 * z, {}

        def params(self) -> dict[str, Any]:
            return {}

    with pytest.raises(ArtifactError, match="could not be found again"):
        to_spec(Intervention(Direction(6), Rotation()))


BROKEN = {
    "no featurizer": {"featurizer": None},
    "no params": {"edit": {"class": "das.edits.zero:Zero"}},
    "unknown param": {"edit": {"class": "das.edits.zero:Zero", "params": {"rank": 2}}},
    "missing param": {"featurizer": {"class": "das.featurizers.rotation:Rotation", "params": {}}},
    "class is no name": {"edit": {"class": ["zero"], "params": {}}},
    "params are a list": {"edit": {"class": "das.edits.swap:Swap", "params": ["source"]}},
    "steering is a list": {"steering": ["clamp"]},
    "steering is no edit": {"steering": {"clamp": {"class": "das.gates.all:All", "params": {}}}},
    "impossible rank": {
        "featurizer": {"class": "das.featurizers.rotation:Rotation", "params": {"width": 3, "rank": 9}}
    },
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_malformed_spec_is_a_typed_error(what):
    with pytest.raises(DasError):
        from_spec(spec(**BROKEN[what]))


@pytest.mark.parametrize("key", ["method", "featurizer", "edit", "gate", "conditioner", "steering"])
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
