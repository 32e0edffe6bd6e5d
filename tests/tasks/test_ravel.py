"""ravel and ravel_mini: labels are what the text says, held-out is held out, sources are weighed, files are as told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import ConfigError, EmptySplitError, UnknownChoiceError
from das.metrics.aggregate.disentangle import disentangled
from das.tasks.base import SPLITS
from das.tasks.cities import CITIES
from das.tasks.ravel import Ravel, answer, ravel
from das.tasks.ravel_mini import LABELS, PLAIN, PROMPTS, TABLE, ravel_mini, words
from das.tasks.ravel_splits import KINDS
from das.tasks.ravel_table import RavelTable, read_table
from das.types import CounterfactualPair, Prompt

ATTRIBUTES = ("Country", "Continent", "Language")
#: Entities per split and attributes, as the data's README and its files say.
SHIPPED = {
    "city": (3552, (1787, 818, 947), 6),
    "nobel_prize_winner": (928, (460, 234, 234), 5),
    "occupation": (799, (388, 210, 201), 3),  # "Gender Bias" has no values
    "physical_object": (563, (276, 150, 137), 4),
    "verb": (986, (510, 234, 242), 4),
}


def parsed(prompt: Prompt) -> tuple[str, str | None, str]:
    """City, attribute asked for, template, by taking the text apart."""
    [(start, end)] = prompt.spans["entity"]
    template = f"{prompt.text[:start]}%s{prompt.text[end:]}"
    asked = [attribute for attribute, row in PROMPTS.items() if template in row]
    assert asked or template in PLAIN
    return prompt.text[start:end], asked[0] if asked else None, template


@settings(max_examples=40)
@given(
    variables=st.lists(st.sampled_from(ATTRIBUTES), min_size=1, max_size=3, unique=True),
    setting=st.sampled_from(["entity", "context"]),
    variant=st.sampled_from(["ravel", "mib"]),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 10**6),
)
def test_labels_are_those_of_running_the_model_by_hand(variables, setting, variant, split, seed):
    task = ravel_mini(variables, setting=setting, variant=variant)
    for pair in task.pairs(split, 6, seed):
        city, asked, _ = parsed(pair.base)
        names = ("source",) if len(variables) == 1 else ("first", "second", "third")
        has = dict(CITIES[city])
        for name, variable in zip(names, variables, strict=False):
            has[variable] = CITIES[parsed(pair.sources[name])[0]][variable]
        assert (pair.base_label, pair.counterfactual_label) == (f" {CITIES[city][asked]}", f" {has[asked]}")
        others = [source for source in pair.sources.values() if source != pair.base]
        assert len(others) == 1
        if variant == "ravel":
            assert CITIES[parsed(others[0])[0]][asked] != CITIES[city][asked], "a full swap must break what is to stay"


#: Variable; base; source; what follows the base; what follows it under the interchange. Checked by hand.
LITERAL = [
    ("Country", "people in Ilorin usually speak", "it rained in Erbil on", " Yoruba", " Yoruba"),
    ("Country", "Katowice is a city in", "my friend went to Tanta with", " Poland", " Egypt"),
    ("Country", "the coast nearest to Puno is that of", "it rained in Novosibirsk on", " Americas", " Americas"),
    ("Country", "Harbin lies on the continent of", "they left Grenoble before", " Asia", " Asia"),
    ("Country", "a train to Seattle ends in", "a letter came from Montreux for", " USA", " Switzerland"),
    ("Country", "children in Sapporo learn to read", "Eldoret is a city in", " Japanese", " Japanese"),
    ("Country", "Seattle is a city in", "birds over Cancun are birds of", " USA", " Mexico"),
    ("Country", "passports from Konya are printed in", "it rained in Halabja on", " Turkey", " Iraq"),
    ("Continent", "passports from Montreal are printed in", "Adelaide is a city in", " Canada", " Canada"),
    ("Continent", "a ship to Sendai sails to", "a map of Lagos is a map of", " Asia", " Africa"),
    ("Continent", "a ship to Katowice sails to", "birds over Atlanta are birds of", " Europe", " Americas"),
    ("Continent", "people in Giza usually speak", "they left Valladolid before", " Arabic", " Arabic"),
    ("Continent", "books from Liege are written in", "books from Salem are written in", " French", " French"),
    ("Continent", "birds over Katowice are birds of", "a map of Atlanta is a map of", " Europe", " Americas"),
    ("Language", "children in Valladolid learn to read", "songs from Manaus are sung in", " Spanish", " Portuguese"),
    ("Language", "a train to Iquitos ends in", "a ship to Atlanta sails to", " Peru", " Peru"),
    ("Language", "Leeds lies on the continent of", "Iquitos is a city in", " Europe", " Europe"),
    ("Language", "people in Seattle usually speak", "a letter came from Giza for", " English", " Arabic"),
    ("Language", "people in Canberra usually speak", "my friend went to Tangier with", " English", " Arabic"),
    ("Language", "a map of Acapulco is a map of", "a map of Salamanca is a map of", " Mexico", " Mexico"),
]


def test_twenty_pairs_checked_by_hand():
    found = {
        (variable, p.base.text, p.sources["source"].text, p.base_label, p.counterfactual_label)
        for variable in ATTRIBUTES
        for p in ravel_mini([variable]).pairs("test", 8, 3)
    }
    assert len(set(LITERAL)) == 20 and set(LITERAL) <= found


def test_half_cause_half_isolate_so_that_doing_nothing_and_everything_score_a_half():
    pairs = ravel_mini(["Country"]).pairs("test", 80, 0)
    assert Counter(parsed(p.base)[1] for p in pairs) == {"Country": 40, "Continent": 20, "Language": 20}
    assert all(p.changed == (parsed(p.base)[1] == "Country") for p in pairs)
    table = RavelTable(
        {f"e{i}": {a: str(i % (3 + j)) for j, a in enumerate("ABCDE")} for i in range(40)},
        {a: [f"{a} of %s"] for a in "ABCDE"}, {},
        dict.fromkeys([*(f"e{i}" for i in range(40)), *(f"{a} of %s" for a in "ABCDE")], "train"),
    )  # fmt: skip
    for variant, own, other in (("ravel", 120, 30), ("mib", 80, 40)):
        asked = Counter(p.base.text[0] for p in Ravel(table, ["B"], variant=variant).pairs("train", 240, 0))
        assert asked == {"B": own, **dict.fromkeys("ACDE", other)}


@pytest.mark.parametrize(("setting", "common"), [("entity", 90 / 100), ("context", 90 / 110)])
def test_sources_are_weighed_by_how_rare_their_label_is(setting, common):
    values = {f"e{i}": {"Color": "red" if i < 90 else "blue", "Size": "m"} for i in range(100)}
    prompts = {"Color": ["the color of %s is", "%s is colored"], "Size": ["the size of %s is"]}
    home = "test" if setting == "entity" else "train"
    splits = dict.fromkeys(values, home) | {"the color of %s is": "train", "%s is colored": "test"}
    task = Ravel(
        RavelTable(values, prompts, {}, splits | {"the size of %s is": "val"}),
        ["Color"],
        ["Color"],
        setting,
        ["output"],
    )
    rare = {"entity": 10 / 20, "context": 10 / 30}[setting]
    # bases are uniform, and pairs of equal colors are left out
    expected = 0.9 * rare / (0.9 * rare + 0.1 * common)
    for split, share in (("test", expected), *([("train", 0.5)] if setting == "context" else [])):
        pairs = task.pairs(split, 600, 0)
        assert sum(p.counterfactual_label == " blue" for p in pairs) / 600 == pytest.approx(share, abs=0.05)


def test_an_attribute_with_one_value_cannot_be_isolated():
    values = {f"e{i}": {"Color": f"c{i}", "Size": "m"} for i in range(9)}
    prompts = {"Color": ["the color of %s is"], "Size": ["the size of %s is"]}
    table = RavelTable(values, prompts, {}, dict.fromkeys([*values, *prompts["Color"], *prompts["Size"]], "train"))
    with pytest.raises(EmptySplitError, match="differ in Size"):
        Ravel(table, ["Color"]).pairs("train", 4, 0)


@pytest.mark.parametrize("setting", ["entity", "context"])
def test_what_is_held_out(setting):
    task = ravel_mini(setting=setting)
    for split in SPLITS:
        for pair in task.pairs(split, 60, 1):
            for prompt in (pair.base, *pair.sources.values()):
                city, _, template = parsed(prompt)
                cities, templates = (split, "train") if setting == "entity" else ("train", split)
                assert (TABLE.splits[city], TABLE.splits[template]) == (cities, templates)


def test_kinds_of_sources():
    for kind in KINDS:
        for split in ("train", "test"):
            for pair in ravel_mini(kinds=[kind]).pairs(split, 20, 0):
                base, source = parsed(pair.base)[1], parsed(pair.sources["source"])[1]
                assert kind == ("other" if source is None else "output" if source == base else "cause")


def test_cells_are_what_disentangle_takes():
    cells = ravel_mini(["Country"]).cells("test", 3, 0)
    assert {a: len(tasks) for a, tasks in cells.items()} == dict.fromkeys(ATTRIBUTES, 4 * 3)
    for asked, tasks in cells.items():
        for name, pairs in tasks.items():
            assert len(pairs) == 3 and {(parsed(p.base)[1], parsed(p.base)[2]) for p in pairs} == {
                (asked, name.rpartition(" [")[0])
            }

    def scores(right: float, wrong: float) -> float:
        by = {a: dict.fromkeys(tasks, right if a == "Country" else wrong) for a, tasks in cells.items()}
        return disentangled("Country", by).disentangle

    assert scores(0.0, 1.0) == scores(1.0, 0.0) == 0.5


def test_the_table_of_cities():
    splits = {split: [c for c in CITIES if TABLE.splits[c] == split] for split in SPLITS}
    assert {split: len(found) for split, found in splits.items()} == {"train": 100, "val": 50, "test": 50}
    for split in SPLITS:
        assert set(Counter(CITIES[c]["Country"] for c in splits[split]).values()) == {4 if split == "train" else 2}
    assert (
        len(CITIES) == 200 and len(set(LABELS)) == len(LABELS) and {label.strip() for label in LABELS} <= set(words())
    )


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("people in %s speak", "Danish", " Danish"),
        ('"city": "%s", "country": "', "Denmark", "Denmark"),
        ("The latitude of %s is (", "57", "57"),
        ("%s has a longitude of ", "10", "10"),
        ('the word "%s" is pronounced as /', "/a/", "a/"),
        ("%s is pronounced", "/a/", " /a/"),
        ('The meaning of "%s" is "to', "to leave someone", " leave someone"),
        ("The definition of %s is to", "to leave", " leave"),
        ('"%s", "duties": "to', "play music", " play music"),
        ("%s:", "to leave", " to leave"),
    ],
)  # fmt: skip
def test_answers_go_on_where_the_template_ends(template, value, expected):
    assert answer(template, value) == expected


@pytest.mark.parametrize("entity_type", SHIPPED)
def test_the_shipped_data_is_as_its_readme_says(entity_type, shared_path):
    folder = str(shared_path("data/ravel"))
    entities, split_sizes, attributes = SHIPPED[entity_type]
    table = read_table(folder, entity_type)
    assert len(table.values) == entities and len(table.attributes) == attributes
    assert tuple(sum(table.splits[e] == s for e in table.values) for s in SPLITS) == split_sizes
    for setting in ("entity", "context"):
        task = ravel(folder, entity_type, [table.attributes[0]], setting=setting)
        assert task.dropped == ({"label": 2} if entity_type == "nobel_prize_winner" else {})
        assert (
            len(task.entities("test"))
            == {
                "entity": split_sizes[2],
                "context": sum(table.splits[t] == "test" for a in table.attributes for t in table.prompts[a])
                + sum(table.splits[t] == "test" for t in table.plain),
            }[setting]
        )
        for pair in task.pairs("test", 20, 0):
            assert pair.entities <= task.entities("test")
            [(start, end)] = pair.base.spans["entity"]
            values = table.values[pair.base.text[start:end]].values()
            assert any(value.endswith(pair.base_label.strip()) for value in values)


def test_mib_s_table_of_cities_is_used_where_it_is_given(shared_path):
    values = shared_path("data/mib/ravel/ravel_city_entity.json")
    attributes = ["Country", "Continent", "Language"]
    task = ravel(str(shared_path("data/ravel")), "city", ["Country"], attributes, variant="mib", values=str(values))
    assert sum(len(task.entities(split)) for split in SPLITS) == 3122 == len(json.loads(values.read_text()))
    assert sum(pair.changed for pair in task.pairs("train", 400, 0)) < 200, "equal countries are left in"


def written(folder: Path, **changes: object) -> str:
    files = {
        "ravel_city_entity_attributes": {"a": {"Color": "red"}, "b": {"Color": "blue"}},
        "ravel_city_attribute_to_prompts": {"Color": ["%s is"]},
        "ravel_city_entity_to_split": {"a": "train", "b": "train"},
        "ravel_city_prompt_to_split": {"%s is": "train"},
        "wikipedia_city_entity_prompts": {"by %s": {"split": "train", "entity": "nobody"}},
    }
    for name, content in (files | changes).items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ravel_city_entity_to_split": "{"}, r"entity_to_split\.json cannot be read"),
        ({"ravel_city_attribute_to_prompts": []}, r"attribute_to_prompts\.json holds no JSON object"),
        ({"ravel_city_entity_to_split": {"a": "train"}}, r"entity_to_split\.json gives an entry no split.*'b'"),
        ({"ravel_city_prompt_to_split": {"%s is": "dev"}}, r"prompt_to_split\.json gives an entry no split.*'dev'"),
        ({"wikipedia_city_entity_prompts": {"by %s of %s": {"split": "val"}}}, "one %s"),
    ],
)
def test_files_that_do_not_fit_are_errors_that_name_them(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_table(written(tmp_path, **changes), "city")


def test_a_prompt_about_nobody_known_is_no_source(tmp_path):
    pairs = ravel(written(tmp_path), "city", ["Color"]).pairs("train", 20, 0)
    assert {p.sources["source"].text for p in pairs} == {"a is", "b is"}
    with pytest.raises(EmptySplitError, match="source prompts other"):
        ravel(written(tmp_path), "city", ["Color"], kinds=["other"]).pairs("train", 1, 0)


def test_arguments_that_do_not_fit_are_typed_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.tgz"):
        read_table(str(tmp_path), "city")
    with pytest.raises(UnknownChoiceError, match="city"):
        read_table(written(tmp_path), "verb")
    for wrong in (
        {"variables": ["Mayor"]},
        {"attributes": ["Mayor"]},
        {"setting": "both"},
        {"kinds": ["wiki"]},
        {"variant": "x"},
    ):
        with pytest.raises(UnknownChoiceError):
            ravel_mini(**wrong)


def test_pairs_are_of_the_type(tmp_path):
    assert all(isinstance(p, CounterfactualPair) and p.target is None for p in ravel_mini().pairs("val", 4, 0))
