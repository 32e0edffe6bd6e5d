"""Prompts from templates, and what interchanged variables are called."""

import pytest

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.render import check_template, render
from das.tasks.sources import check_variables, interchanges, source_names


def test_every_mention_of_a_field_is_in_its_span():
    prompt = render("{a}, {{{b}}} and {a}!", {"a": "one", "b": 22, "unused": 0})
    assert prompt.text == "one, {22} and one!"
    assert prompt.spans == {"a": ((0, 3), (14, 17)), "b": ((6, 8),)}


@pytest.mark.parametrize("template", ["{a} {b}", "{a}", "a", "{a} {c}", "{a", "{b}{a}}"])
def test_templates_have_exactly_the_task_s_fields(template):
    if template == "{a} {b}":
        check_template(template, ("a", "b"))
        return
    with pytest.raises(ConfigError):
        check_template(template, ("a", "b"))


def test_one_variable_has_the_default_source_and_several_have_one_each():
    assert source_names(["x"]) == {"x": "source"} and interchanges(["x"]) == [("x",)]
    assert source_names(["x", "y"]) == {"x": "first", "y": "second"}
    assert interchanges(["x", "y"]) == [("x",), ("y",), ("x", "y")]


def test_variables_are_known_distinct_and_of_one_hypothesis():
    check_variables("t", ["a", "b"], [("a", "b"), ("c",)])
    with pytest.raises(UnknownChoiceError, match="Choose one of: a, b, c"):
        check_variables("t", ["d"], [("a", "b"), ("c",)])
    for wrong in ([], ["a", "a"], ["a", "c"]):
        with pytest.raises(ConfigError, match="a, b or c"):
            check_variables("t", wrong, [("a", "b"), ("c",)])
