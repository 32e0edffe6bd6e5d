import pytest

from das.errors import ConfigError, InputError, UnknownChoiceError
from das.tasks.causal import CausalModel

EQUALITY = CausalModel(
    parents={"wx": ("w", "x"), "yz": ("y", "z"), "out": ("wx", "yz"), "w": (), "x": (), "y": (), "z": ()},
    mechanisms={"wx": lambda w, x: w == x, "yz": lambda y, z: y == z, "out": lambda a, b: a == b},
)
BASE = {"w": 1, "x": 1, "y": 2, "z": 3}
SOURCE = {"w": 1, "x": 2, "y": 5, "z": 5}


def test_run_computes_every_variable_whatever_the_declared_order():
    assert EQUALITY.run(BASE) == {**BASE, "wx": True, "yz": False, "out": False}
    assert EQUALITY.inputs == ("w", "x", "y", "z")
    order = EQUALITY.variables
    assert order.index("out") > max(order.index("wx"), order.index("yz"))


def test_do_forces_a_variable_and_leaves_the_others():
    values = EQUALITY.run(BASE, do={"wx": False})
    assert (values["w"], values["wx"], values["out"]) == (1, False, True)


def test_an_input_may_be_forced_instead_of_given():
    assert EQUALITY.run({"w": 1, "x": 1, "y": 2}, do={"z": 2})["out"] is True


@pytest.mark.parametrize(
    ("sources", "out"),
    [({}, False), ({"wx": SOURCE}, True), ({"yz": SOURCE}, True), ({"wx": SOURCE, "yz": SOURCE}, False)],
)
def test_interchange_takes_each_variable_from_its_own_source(sources, out):
    assert EQUALITY.interchange(BASE, sources)["out"] is out


def test_interchange_with_itself_changes_nothing():
    assert EQUALITY.interchange(BASE, {"wx": BASE, "out": BASE}) == EQUALITY.run(BASE)


def test_unknown_variables_are_named_with_the_nearest_match():
    for call in (lambda: EQUALITY.run({**BASE, "wy": 1}), lambda: EQUALITY.interchange(BASE, {"wy": SOURCE})):
        with pytest.raises(UnknownChoiceError, match=r"unknown variable.*'wy'.*Did you mean"):
            call()
    with pytest.raises(UnknownChoiceError, match="'b'"):
        CausalModel({"a": ("b",)}, {"a": lambda b: b})


def test_bad_models_and_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"cycle.*a, b"):
        CausalModel({"a": ("b",), "b": ("a",), "c": ()}, {"a": lambda b: b, "b": lambda a: a})
    with pytest.raises(ConfigError, match="no mechanism"):
        CausalModel({"a": (), "b": ("a",)}, {})
    with pytest.raises(InputError, match=r"no value.*z"):
        EQUALITY.run({"w": 1, "x": 1, "y": 2})
    with pytest.raises(InputError, match="only inputs"):
        EQUALITY.run({**BASE, "wx": True})
