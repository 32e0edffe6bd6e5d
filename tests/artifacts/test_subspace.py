"""Saving, loading and refusing subspaces."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from das.artifacts import storage
from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.edits.zero import Zero
from das.errors import ArtifactError, SiteError, UnknownChoiceError
from das.factors import Factors, deviation_between
from das.featurizers.base import Featurizer
from das.featurizers.oblique import Oblique
from das.interventions.base import Intervention
from das.interventions.serial import register_part
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.types import Site, SpanFinder
from tests.families import tiny_model


@pytest.fixture
def model():
    return tiny_model("llama-gqa")


def subspace(model, rank: int = 2, **more) -> Subspace:
    vectors = {
        name: torch.arange(rank) + float(i)
        for i, name in enumerate(("positive", "negative", "positive_spread", "negative_spread", "maximum"))
    }
    factors = Factors(**vectors, labels=(" she", " he"), count=7, deviation=0.5)
    learned = InterventionSet([(Site(1, positions="span:name", source_positions="last"), das(32, rank))])
    return Subspace(
        learned, ModelCard.of(model), (factors,), SpanFinder("name", ("Tim", "Lily")), "toy",
        {"seed": 3, "objective": "jsd"}, {"iia": 0.5, "broken": float("nan")}, **more,
    )  # fmt: skip


def edit_config(path, change):
    config = json.loads((path / storage.CONFIG).read_text())
    change(config)
    (path / storage.CONFIG).write_text(json.dumps(config))


def test_round_trip_is_bit_equal(model, tmp_path):
    saved = subspace(model, controls={"wrong_site": subspace(model, 1)})
    saved.save(tmp_path / "s")
    loaded = Subspace.load(tmp_path / "s", model)
    for name, tensor in saved.interventions.state_dict().items():
        assert torch.equal(tensor, loaded.interventions.state_dict()[name])
    assert loaded.interventions.placements == saved.interventions.placements
    assert loaded.finder == saved.finder and loaded.model == saved.model and loaded.task == "toy"
    assert torch.equal(loaded.factors[0].negative, saved.factors[0].negative) and loaded.factors[0].labels[0] == " she"
    assert loaded.metrics == {"iia": 0.5, "broken": None} and loaded.training["seed"] == 3
    assert torch.equal(loaded.controls["wrong_site"].basis(), saved.controls["wrong_site"].basis())
    assert not any(p.requires_grad for p in loaded.interventions.parameters())
    base, source = torch.randn(2, 3, 4, 32)
    assert torch.equal(
        saved.interventions[0](base, {"source": source}).activation,
        loaded.interventions[0](base, {"source": source}).activation,
    )


def test_the_config_says_what_would_be_silently_wrong(model, tmp_path):
    path = subspace(model).save(tmp_path / "s")
    text = (path / storage.CONFIG).read_text()
    config, site = json.loads(text), json.loads(text)["sites"][0]
    assert "_target_" not in text
    assert config["format_version"] == 1 and config["base_model"]["fingerprint"] == ModelCard.of(model).fingerprint
    assert (site["layer"], site["component"], site["positions"], site["rank"]) == (1, "block_output", "span:name", 2)
    assert site["invariants"]["orthonormal"] < 1e-6 and site["factors"]["count"] == 7
    assert "pooled" in (path / "README.md").read_text()
    assert sum(f.stat().st_size for f in path.rglob("*")) < 20_000


def test_refuses_a_folder_in_use(model, tmp_path):
    saved = subspace(model)
    saved.save(tmp_path / "s")
    with pytest.raises(ArtifactError, match="not empty"):
        saved.save(tmp_path / "s")
    saved.save(tmp_path / "s", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("do not delete")
    with pytest.raises(ArtifactError, match="something else"):
        saved.save(tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "thesis.txt").exists()


def test_a_crash_while_saving_keeps_the_old_one(model, tmp_path, monkeypatch):
    old = subspace(model)
    old.save(tmp_path / "s")
    monkeypatch.setattr(storage, "card", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        subspace(model).save(tmp_path / "s", overwrite=True)
    assert torch.equal(Subspace.load(tmp_path / "s").basis(), old.basis())


def test_refuses_changed_tensors_unless_told(model, tmp_path):
    path = subspace(model).save(tmp_path / "s")
    blob = bytearray((path / storage.TENSORS).read_bytes())
    blob[-1] ^= 1
    (path / storage.TENSORS).write_bytes(blob)
    with pytest.raises(ArtifactError, match="changed after it was saved"):
        Subspace.load(path)
    Subspace.load(path, allow_tampered=True, allow_non_orthonormal=True)
    (path / storage.TENSORS).write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Subspace.load(path, allow_tampered=True)


def test_refuses_a_changed_config_unless_told(model, tmp_path):
    path = subspace(model).save(tmp_path / "s")
    edit_config(path, lambda c: c["sites"][0].update(layer=2))
    with pytest.raises(ArtifactError, match="changed after it was saved"):
        Subspace.load(path)
    assert Subspace.load(path, allow_tampered=True).site.layer == 2
    (path / storage.CONFIG).write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        Subspace.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=99), "unknown artifact format"),
        (lambda c: c["sites"][0].pop("reads"), "do not fit"),
        (lambda c: c["sites"][0].pop("intervention"), "do not fit"),
        (lambda c: c["sites"][0].update(width=7), "width or rank differs"),
        (lambda c: c["sites"][0].update(rank=1), "width or rank differs"),
        (lambda c: c["sites"][0].update(intervention=1), "do not fit"),
        (lambda c: c["interventions"][0]["featurizer"]["params"].update(rank=1), "do not fit"),
        (lambda c: c.pop("task"), "incomplete"),
    ],
)
def test_refuses_a_description_that_does_not_fit(model, tmp_path, change, message):
    path = subspace(model).save(tmp_path / "s")
    edit_config(path, change)
    with pytest.raises(ArtifactError, match=message):
        Subspace.load(path, allow_tampered=True)


@pytest.mark.parametrize("family", ["os:system", "../x:Y", "base", "rotation.Rotation", "das.cli.main:main"])
def test_loading_builds_only_what_ships_with_das(model, tmp_path, family):
    path = subspace(model).save(tmp_path / "s")
    edit_config(path, lambda c: c["interventions"][0]["featurizer"].update({"class": family}))
    with pytest.raises(UnknownChoiceError, match="unknown featurizer"):
        Subspace.load(path, allow_tampered=True)


def test_refuses_another_model_unless_told(model, tmp_path):
    path = subspace(model).save(tmp_path / "s")
    other = tiny_model("llama-gqa", seed=1)
    with pytest.raises(ArtifactError, match=r"another model: its fingerprint differs.*allow_model_mismatch"):
        Subspace.load(path, other)
    with pytest.raises(ArtifactError, match="class_name differs"):
        Subspace.load(path, tiny_model("gpt2"))
    Subspace.load(path, other, allow_model_mismatch=True)


@pytest.mark.parametrize(("value", "message"), [(0.5, "not orthonormal"), (float("nan"), "NaN")])
def test_refuses_a_broken_basis(model, tmp_path, value, message):
    path = subspace(model).save(tmp_path / "s")
    tensors = load_file(path / storage.TENSORS)
    name = next(k for k in tensors if k.endswith("weight"))
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, path / storage.TENSORS)
    with pytest.raises(ArtifactError, match=message):
        Subspace.load(path, allow_tampered=True)
    if value == 0.5:
        Subspace.load(path, allow_tampered=True, allow_non_orthonormal=True)


@pytest.mark.parametrize("nested", [False, True])
def test_refuses_an_oblique_pair_that_is_not_dual(model, tmp_path, nested):
    """LEACE's artifacts: what is read must be what is written, also where a part of another part says so."""
    pair = Oblique(32, 2, right=torch.eye(32, 2), left=torch.eye(32, 2) + 0.5 * torch.eye(32)[:, 4:6])
    if nested:
        pair = register_part(Outer)(pair)
    x = Intervention(pair, Zero(), steering={}, name="leace")
    learned = InterventionSet([(Site(1), x)])
    path = Subspace(learned, ModelCard.of(model), (None,)).save(tmp_path / "s")
    assert Subspace.load(path, model).interventions.invariants() == {"0/dual": 0.0}
    tensors = load_file(path / storage.TENSORS)
    name = next(k for k in tensors if k.endswith("left"))
    save_file({**tensors, name: 1.5 * tensors[name]}, path / storage.TENSORS)
    with pytest.raises(ArtifactError, match=r"not dual.*residual 0\.5"):
        Subspace.load(path, model, allow_tampered=True)
    assert Subspace.load(path, model, allow_tampered=True, allow_non_orthonormal=True).interventions[0].rank == 2


class Outer(Featurizer):
    """Another featurizer, by way of a part around it."""

    def __init__(self, inner: Featurizer | None = None) -> None:
        super().__init__()
        self.inner = inner or Oblique(32, 2)
        self.width, self.rank = self.inner.width, self.inner.rank

    def frame(self, ctx):
        return self.inner.frame(ctx)

    def params(self):
        return {}


def test_nothing_there(tmp_path):
    with pytest.raises(ArtifactError, match="no subspace here"):
        Subspace.load(tmp_path / "nowhere")


def test_tied_interventions_stay_tied_and_are_stored_once(model, tmp_path):
    shared = das(32, 2)
    tied = InterventionSet([(Site(0), shared), (Site(1), shared), (Site(2), das(32, 1))])
    path = Subspace(tied, ModelCard.of(model), (None,) * 3).save(tmp_path / "s")
    assert set(load_file(path / storage.TENSORS)) == {f"interventions.{n}.featurizer.weight" for n in (0, 1)}
    first, second, third = Subspace.load(path, model).interventions
    assert first is second and first is not third


def test_what_people_read_of_the_factors_is_not_what_is_loaded(model, tmp_path):
    path = subspace(model).save(tmp_path / "s")
    edit_config(path, lambda c: c["sites"][0]["factors"]["for_people"].update(positive=[99.0, 99.0]))
    with pytest.raises(ArtifactError, match="changed after it was saved"):
        Subspace.load(path)
    assert float(Subspace.load(path, allow_tampered=True).factors[0].positive.max()) < 99


def test_the_gap_is_measured_along_the_line_through_the_means():
    torch.manual_seed(0)
    noise = torch.randn(5000, 2) @ torch.tensor([[0.1, 0.0], [5.0, 100.0]])
    shift, turn = torch.tensor([1.0, 0.0]), torch.linalg.qr(torch.randn(2, 2)).Q
    positive, negative = noise + shift, noise - shift
    along = noise[:, 0].std(unbiased=False)
    assert deviation_between(positive, negative) == pytest.approx(float(along), rel=1e-5)
    assert deviation_between(positive @ turn, negative @ turn) == pytest.approx(float(along), rel=1e-3)
    known = Factors(shift, -shift, shift, shift, shift, (" she", " he"), 3, 0.1)
    assert known.gap == pytest.approx(20.0)


def test_a_control_is_the_one_that_was_saved_under_its_name(model, tmp_path):
    controls = {"wrong_site": subspace(model), "shuffled_labels": subspace(model, rank=3)}
    subspace(model, controls=controls).save(tmp_path / "a")
    assert set(Subspace.load(tmp_path / "a").controls) == set(controls)
    held = tmp_path / "a" / "controls"
    shutil.rmtree(held / "shuffled_labels")
    with pytest.raises(ArtifactError, match="no subspace here"):
        Subspace.load(tmp_path / "a")
    shutil.copytree(held / "wrong_site", held / "shuffled_labels")
    with pytest.raises(ArtifactError, match="'shuffled_labels' is not the one"):
        Subspace.load(tmp_path / "a")
    assert set(Subspace.load(tmp_path / "a", allow_tampered=True).controls) == set(controls)


BROKEN = {
    "controls are a number": lambda c: c.update(controls=5),
    "controls are none": lambda c: c.update(controls=None),
    "a control outside": lambda c: c.update(controls={"../../other": "0"}),
    "count is a word": lambda c: c["sites"][0]["factors"].update(count="x"),
    "metrics are none": lambda c: c.update(metrics=None),
    "training is none": lambda c: c.update(training=None),
    "a side that does not exist": lambda c: c["sites"][0].update(side="sideways"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_description_is_an_artifact_error_even_where_its_hash_is_right(model, tmp_path, what):
    path = subspace(model).save(tmp_path / "a")
    edit_config(path, BROKEN[what])
    config = json.loads((path / "das_config.json").read_text())
    config["config_sha256"] = storage.config_hash(config)
    (path / "das_config.json").write_text(json.dumps(config))
    with pytest.raises((ArtifactError, SiteError, UnknownChoiceError)):
        Subspace.load(path)


@pytest.mark.parametrize("text", [b"\xff\xfe{", b"[" * 100_000])
def test_a_configuration_that_is_no_json_text_is_an_artifact_error(model, tmp_path, text):
    path = subspace(model).save(tmp_path / "a")
    (path / "das_config.json").write_bytes(text)
    with pytest.raises(ArtifactError, match="not valid JSON"):
        Subspace.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update({"factors.0.positive": torch.zeros(3)}),
        lambda t: t.update({"factors.0.positive": torch.zeros(2, dtype=torch.long)}),
        lambda t: t.update({"factors.7.positive": torch.zeros(2)}),
    ],
    ids=["another rank", "integers", "of no site"],
)
def test_factor_tensors_must_fit(model, tmp_path, change):
    path = subspace(model).save(tmp_path / "a")
    tensors = load_file(path / "interventions.safetensors")
    change(tensors)
    save_file(tensors, path / "interventions.safetensors")
    with pytest.raises(ArtifactError, match="do not fit each other"):
        Subspace.load(path, allow_tampered=True)
