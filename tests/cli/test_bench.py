"""`das bench mini`: every gate of every seed in one file, misses too, and what is there is not run again."""

from __future__ import annotations

import json

import pytest

from das.bench import illusion
from das.bench.base import Gate

ONE = ("bench", "mini", "only=[illusion]")


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """Nobody's commits during the tests count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("das.cli.bench.commit", lambda: "abc")
        yield


@pytest.fixture(scope="module")
def measured(run_das, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out.json"
    return run_das(*ONE, f"out={out}", "seeds=2"), out


def test_every_gate_of_every_seed_is_written_and_shown(measured):
    done, out = measured
    assert done.code == 0, done.err
    written = json.loads(out.read_text())
    assert [(run["bench"], run["seed"]) for run in written["runs"]] == [("illusion", 0), ("illusion", 1)]
    for run in written["runs"]:
        expected = illusion.BENCH.run(run["seed"])
        assert [(g["name"], g["bar"], g["held"]) for g in run["gates"]] == [(g.name, g.bar, g.held) for g in expected]
        assert [g["value"] for g in run["gates"]] == pytest.approx([g.value for g in expected], abs=1e-6)
        assert run["seconds"] >= 0
    assert {"torch", "das", "python"} <= set(written["versions"]) and written["machine"]["cores"] >= 1
    assert "2 of 2" in done.out and "12 of 12 gates held" in done.out and "MISSED" not in done.out


def test_it_goes_on_where_it_stopped(measured, run_das):
    _, out = measured
    written = json.loads(out.read_text())
    written["runs"][0]["seconds"] = 123.0
    del written["runs"][1]
    out.write_text(json.dumps(written))
    assert run_das(*ONE, f"out={out}", "seeds=2").code == 0
    again = json.loads(out.read_text())["runs"]
    assert [(run["seed"], run["seconds"] == 123.0) for run in again] == [(0, True), (1, False)]


def test_a_miss_is_shown_and_no_error(run_das, monkeypatch, tmp_path):
    class Missing:
        title = "misses one"

        def run(self, seed):
            return [Gate("reached", 1.0, ">= 1"), Gate("not reached", 0.5, ">= 1"), Gate("no number", float("nan"))]

    monkeypatch.setattr(illusion, "BENCH", Missing())
    done = run_das(*ONE, f"out={tmp_path / 'out.json'}", "seeds=[3]")
    assert done.code == 0 and "1 of 2 gates held" in done.out and "0 of 1" in done.out
    assert "MISSED illusion, seed 3: not reached 0.500, bar >= 1" in done.out
    gates = json.loads((tmp_path / "out.json").read_text())["runs"][0]["gates"]
    assert [(g["value"], g["held"]) for g in gates] == [(1.0, True), (0.5, False), (None, None)]


def test_gates_are_lined_up_by_name_whatever_their_order_and_number(run_das, monkeypatch, tmp_path):
    class Growing:
        title = "has one more gate in front for every seed"

        def run(self, seed):
            return [*(Gate(f"new {i}", 0.0) for i in range(seed, 0, -1)), Gate("IIA", 0.99, ">= 0.98")]

    monkeypatch.setattr(illusion, "BENCH", Growing())
    for seeds in ("[0,1,2]", "[2,1,0]"):
        done = run_das(*ONE, f"out={tmp_path / 'out.json'}", f"seeds={seeds}")
        [line] = [line for line in done.out.splitlines() if "IIA" in line]
        assert done.code == 0 and "0.990" in line and "3 of 3" in line


def test_numbers_of_another_commit_are_not_taken_over(run_das, monkeypatch, tmp_path):
    out = tmp_path / "out.json"
    monkeypatch.setattr("das.cli.bench.commit", lambda: "aaa")
    assert run_das(*ONE, f"out={out}", "seeds=1").code == 0
    before = out.read_bytes()
    monkeypatch.setattr("das.cli.bench.commit", lambda: "bbb")
    done = run_das(*ONE, f"out={out}", "seeds=2")
    assert done.code == 2 and "illusion, seed 0, of aaa; this is bbb" in done.err and out.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["bench", "maxi"], "mini"), (["bench", "mini", "only=[ilusion]"], "illusion"),
        (["bench", "mini", "seeds=0"], "seeds"), (["bench", "mini", "seeds=[1,1]"], "seeds"),
        (["bench", "mini", "seeds=x"], "seeds"),
    ],
)  # fmt: skip
def test_bad_settings_are_one_line(run_das, args, told):
    done = run_das(*args)
    assert done.code == 2 and told in done.err and done.err.count("\n") == 1


def test_files_of_others_are_left_alone(run_das, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"mine": 1}')
    assert run_das(*ONE, f"out={file}").code == 2 and file.read_text() == '{"mine": 1}'
    file.write_text('{"runs": [], "versions": {"torch": "0.1"}}')
    done = run_das(*ONE, f"out={file}")
    assert done.code == 2 and "other libraries" in done.err and "0.1" in done.err
