"""A sweep's cells are what separate runs are, its map says where the variable is, and it goes on where it stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

import das
from das.data.encode import Encoder
from das.data.positions import parse_positions, resolve
from das.errors import (
    ConfigError,
    EmptySplitError,
    InputError,
    PositionError,
    RunExistsError,
    UnknownChoiceError,
)
from das.methods.full_vector import full_vector
from das.methods.loreft import loreft
from das.metrics.iia import IIA
from das.metrics.kl_target_to_intervened import KLTargetToIntervened
from das.objectives.lm_loss import LMLoss
from das.sweeping.cells import Cells
from das.sweeping.choosing import best_of, choice
from das.sweeping.columns import all_columns, described
from das.sweeping.grid import Cell, Grid
from das.sweeping.heatmap import draw
from das.sweeping.journal import CELLS, Journal
from das.sweeping.sweep import sweep
from das.tasks.hierarchical_equality import HierarchicalEquality
from das.tasks.name_gender import NameGender
from das.types import Prompt
from tests.toy import save_toy_model

SETTINGS = das.FitSettings(
    das.DataSettings(n_train=24, n_val=12, n_test=12, n_contrast=8), das.AdamW(lr=0.02),
    das.TrainerSettings(max_steps=4, batch_size=8, progress=False), das.ControlSettings(names=("random_subspace",)),
)  # fmt: skip
DAS = partial(das.method("das"), rank=1)
GRID = Grid(layers=(0, 1), positions=("span:name", "last"), seeds=(0, 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return das.load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.mark.parametrize("budget", [4.0, 0.0])
def test_a_cell_is_what_a_run_of_its_own_is(model, budget, tmp_path):
    """With the shared recording, and without it where memory is short."""
    settings = replace(SETTINGS, trainer=replace(SETTINGS.trainer, budget_gib=budget, cache_dir=str(tmp_path)))
    swept = sweep(model, NameGender(), DAS, GRID, settings=settings)
    assert len(swept.rows) == 8
    for row in swept.rows[::3]:
        site = das.Site(row["layer"], positions=row["positions"])
        own = das.fit(model, NameGender(), DAS, site, settings=SETTINGS)
        if row["seed"] == 0:  # the data of a run of its own follow its seed
            for name in ("iia", "iia_changed", "iia_full_vocab"):
                assert row[name] == pytest.approx(own.metrics[f"val/{name}"], abs=1e-6)


def test_the_best_is_chosen_on_validation_and_measured_on_test(model):
    swept = sweep(model, NameGender(), DAS, GRID, settings=SETTINGS, select="iia")
    assert swept.best["iia"] == max(row["iia"] for row in swept.rows)
    site = swept.fit.subspace.interventions.placements[0].write
    assert (site.layer, site.positions) == (swept.best["layer"], swept.best["positions"])
    assert swept.fit.metrics["data/test_pairs"] == 12 and "control/random_subspace/iia" in swept.fit.metrics
    assert "8 cells" in swept.fit.subspace.training["chosen"]


def test_patching_is_a_sweep_of_the_full_vector(model):
    learned = sweep(model, NameGender(), DAS, GRID, settings=SETTINGS)
    patched = sweep(model, NameGender(), full_vector, replace(GRID, seeds=(0,)), settings=SETTINGS)
    beside = {(r["layer"], r["positions"]): r["full_vector/iia"] for r in learned.rows}
    assert {(r["layer"], r["positions"]): r["iia"] for r in patched.rows} == beside
    assert all(row["train/steps"] == 0 for row in patched.rows)


def test_methods_without_sources_and_ranks(model):
    settings = replace(SETTINGS, trainer=replace(SETTINGS.trainer, max_steps=2))
    swept = sweep(
        model, NameGender(), loreft, Grid((0,), ("last",), ranks=(1, 3)), settings=settings,
        objective=LMLoss(),
        select="iia",
    )  # fmt: skip
    assert [(row["rank"], row["dimension"]) for row in swept.rows] == [(1, 1), (3, 3)]
    with pytest.raises(ConfigError, match="no rank to sweep"):
        sweep(model, NameGender(), full_vector, Grid((0,), ("last",), ranks=(1,)), settings=SETTINGS)


def test_another_seed_of_a_cell_is_fitted_on_the_sweeps_data(model):
    grid = Grid((0,), ("last",), seeds=(7,))
    swept = sweep(model, NameGender(), DAS, grid, settings=SETTINGS)
    own = sweep(model, NameGender(), DAS, replace(grid, seeds=(0,)), settings=SETTINGS)
    for name in ("full_vector", "no_intervention"):
        key = f"control/{name}/iia"
        assert swept.fit.metrics.get(key) == own.fit.metrics.get(key)
    assert swept.fit.subspace.training["data"]["seed"] == 0 and swept.fit.metrics["seed"] == 7


def test_the_better_end_of_the_metric_is_chosen():
    metrics = {"kl": KLTargetToIntervened(), "iia": IIA()}
    rows = [{"kl": n, "iia_changed": n, "dimension": 1} for n in (math.nan, 5.0, 0.1, 0.9)]
    assert best_of(rows, choice("kl", metrics))["kl"] == 0.1
    assert best_of(rows, choice("iia_changed", metrics))["iia_changed"] == 5.0
    with pytest.raises(ConfigError, match="no cell reports"):
        best_of(rows[:1], choice("kl", metrics))


def test_cells_of_something_else_are_refused_and_a_cut_off_line_is_removed(model, tmp_path):
    grid = Grid((0,), ("last",))
    sweep(model, NameGender(), full_vector, grid, settings=SETTINGS, run_dir=tmp_path / "a")
    with pytest.raises(RunExistsError, match="interventions"):
        sweep(model, NameGender(), DAS, grid, settings=SETTINGS, run_dir=tmp_path / "a")
    cell, file = Cell(0, 3, "last", None, 0), tmp_path / CELLS
    row = {"layer": 0, "positions": "last", "rank": None, "seed": 0, "column": 1}
    Journal(file).add(row)
    file.write_text(file.read_text() + '{"layer": 1, "posi')
    journal = Journal(file)
    journal.add({**row, "layer": 1})
    assert Journal(file).of(cell) == {**row, "column": 3} and Journal(file).of(replace(cell, layer=1)) is not None
    file.write_text("nonsense\n" + file.read_text())
    with pytest.raises(InputError, match="line 1 of"):
        Journal(file)


def test_an_interrupted_sweep_goes_on(model, tmp_path, monkeypatch):
    measured = Cells._measured

    def stops(cells, group):
        if group[0].cell.layer == 1:
            raise KeyboardInterrupt
        return measured(cells, group)

    monkeypatch.setattr(Cells, "_measured", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(model, NameGender(), DAS, GRID, settings=SETTINGS, run_dir=tmp_path)
    file = tmp_path / CELLS
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    file.write_text("\n".join([*lines, '{"layer": 1, "posi']))  # cut off by a crash
    seen = []

    def counts(cells, group):
        seen.extend(trial.cell for trial in group)
        return measured(cells, group)

    monkeypatch.setattr(Cells, "_measured", counts)
    swept = sweep(model, NameGender(), DAS, GRID, settings=SETTINGS, run_dir=tmp_path)
    assert [cell.layer for cell in seen] == [1] * 4 and list(swept.rows[:4]) == list(map(json.loads, lines))
    whole = sweep(model, NameGender(), DAS, GRID, settings=SETTINGS)
    for got, expected in zip(swept.rows, whole.rows, strict=True):
        assert {k: v for k, v in got.items() if "seconds" not in k} == {
            k: v for k, v in expected.items() if "seconds" not in k
        }


def test_bad_grids_are_refused_before_any_training(model):
    for wrong in ({"layers": ()}, {"positions": "last"}, {"ranks": (1, 1)}):
        with pytest.raises(InputError):
            Grid(**wrong)
    with pytest.raises(PositionError, match="index:400"):
        sweep(model, NameGender(), DAS, Grid((0,), ("last", "index:400")), settings=SETTINGS)
    with pytest.raises(das.DasError, match="layer"):
        sweep(model, NameGender(), DAS, Grid((9,), ("last",)), settings=SETTINGS)
    with pytest.raises(UnknownChoiceError, match="metric to select by"):
        sweep(model, NameGender(), DAS, Grid((0,), ("last",)), settings=SETTINGS, select="speed")


class Mixed:
    """name_gender, with a pair in every split whose base mentions its name once more than its source does."""

    name, labels, finder = "mixed", NameGender().labels, NameGender().finder

    def __init__(self, clean: bool) -> None:
        self.clean = clean

    def entities(self, split):
        return NameGender().entities(split)

    def pairs(self, split, n, seed):
        found = NameGender().pairs(split, n - 1, seed)
        base = found[4].base
        odd = replace(found[4], base=replace(base, spans={"name": ((0, len("Once")), *base.spans["name"])}))
        return found if self.clean else [*found[:2], replace(odd, origin="mine.csv, row 3"), *found[2:]]


@pytest.mark.parametrize("positions", [("last", "span:name"), "all"])
def test_rows_without_a_position_of_the_map_are_an_error_or_in_no_cell(model, positions, monkeypatch):
    grid, loose = Grid((0,), positions), replace(SETTINGS, data=replace(SETTINGS.data, strict=False))
    with monkeypatch.context() as patch:
        patch.setattr(Cells, "_record", None)  # nothing has been run by then
        with pytest.raises(PositionError, match=r"^mine\.csv, row 3: .*numbers of mentions.*data.strict=false"):
            sweep(model, Mixed(clean=False), DAS, grid, settings=SETTINGS)
    swept = sweep(model, Mixed(clean=False), DAS, grid, settings=loose)
    assert swept.dropped == {"file": {}, "train": {"position": 1}, "val": {"position": 1}}
    clean = sweep(model, Mixed(clean=True), DAS, grid, settings=loose)
    assert not any(clean.dropped.values())
    found, expected = (
        {r["positions"]: {k: v for k, v in r.items() if k not in ("column", "train/seconds")} for r in one.rows}
        for one in (swept, clean)
    )
    shared = found.keys() & expected.keys()
    assert {"span:name", "last" if positions != "all" else "index:-1"} <= shared
    assert [found[p] for p in shared] == [expected[p] for p in shared], "all cells are about the same rows"
    with pytest.raises(EmptySplitError, match="for their position"):
        sweep(model, Mixed(clean=True), DAS, Grid((0,), ("last", "index:400")), settings=loose)


def test_a_map_of_the_planted_model_shows_where_the_variable_is(tmp_path):
    """WX is put together in block 1 at the last token: nothing before, nothing elsewhere."""
    settings = das.FitSettings(
        das.DataSettings(n_train=256, n_val=64, n_test=64), das.AdamW(lr=0.04),
        das.TrainerSettings(max_steps=50, batch_size=16, progress=False), das.ControlSettings(names=()),
    )  # fmt: skip
    swept = sweep(das.load_model("heq_hand"), HierarchicalEquality(("WX",)), DAS, Grid((0, 1)), settings=settings)
    found = {(row["layer"], row["text"]): row["iia_changed"] for row in swept.rows}
    assert (swept.best["layer"], swept.best["text"]) == (1, "=") and found[1, "="] >= 0.98
    assert [row["text"] for row in swept.rows[:6]] == ["<s>", "[W]", "[X]", "[Y]", "[Z]", "="]
    assert found[1, "[W]"] <= 0.05 and found[1, "<s>"] == 0.0
    assert draw(swept, tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def encoder():
    from das.models.recipes.tiny import tiny_tokenizer

    return Encoder(tiny_tokenizer())


def prompts(encoder, *marked):
    return list(encoder.encode_all([Prompt.from_marked(text, "name") for text in marked]))


def test_columns_mean_the_same_place_in_all_prompts(encoder):
    two = prompts(encoder, "One day [[Tim]] was very happy.", "One day [[Annabella]] was very sad.")
    assert len(two[0]) != len(two[1])
    columns = all_columns(two, lambda token: encoder.tokenizer.decode([token]))
    texts = [column.text for column in columns]
    assert texts[0] == "<s>" and "".join(texts[1 : texts.index("[name]")]) == "Oneday"
    assert texts[texts.index("[name]") + 1] == "[name +1]" and texts[-1] == "."
    assert len({column.positions for column in columns}) == len(columns)
    assert [c.positions for c in described(["last", "index:30"], two, str)] == ["last"]


def test_prompts_of_one_structure_have_a_column_for_every_token(encoder):
    two = prompts(encoder, "One day [[Tim]] saw [[Tim]] again.", "One day [[Tom]] saw [[Tom]] again.")
    columns = all_columns(two, lambda token: encoder.tokenizer.decode([token]))
    inside = sum(len(group) for group in two[0].spans["name"])
    assert len(columns) == len(two[0]) - inside + 1


def test_spans_are_followed_by_after(encoder):
    [one] = prompts(encoder, "One day [[Tim]] was happy.")
    where = resolve(parse_positions("span:name:after"), one)
    assert [encoder.tokenizer.decode([one.ids[i]]).strip() for group in where for i in group] == ["was"]
    assert torch.tensor(where).shape == (1, 1)
