"""What does not fit into memory is kept on disk: the same numbers, used again, never used where it does not belong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from das.batch import PairBatch
from das.engine import identity
from das.engine.disk import DiskCache
from das.engine.engine import Engine
from das.engine.mapped import read, write
from das.engine.store import Axis, Form, TokenStore
from das.engine.tiers import prepare
from das.models.checksum import checksum
from das.models.fingerprint import fingerprint
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import SITES, made, outcome
from tests.families import tiny_model

ROOM = 1 << 30
EARLIER = "by an earlier run"


@dataclass(frozen=True)
class Named:
    """Pairs that can be told from others, as the data of tasks can; `cut` ends the collecting of so many rows."""

    pairs: RandomPairs
    cut: int | None = None
    about: str = "random pairs"

    @property
    def fingerprint(self) -> str:
        return repr(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def collate(self, rows) -> PairBatch:
        if len(rows) == self.cut:
            raise KeyboardInterrupt
        return self.pairs.collate(rows)


DATA = Named(RandomPairs(7, [["source"]], labels=3))


def kept(model, data, cache, site=None, budget=0, runs=("reference", "target"), **settings):
    interventions = made(model, [site or Site(1)])
    engine = Engine(model, interventions.placements)
    settings = {"batch_size": 3, "tier": "all", **settings}
    ready = prepare(engine, data, runs=frozenset(runs), budget_bytes=budget, cache=cache, **settings)
    return ready, interventions


def files(cache):
    return sorted(path.name for path in cache.folder.glob("*.safetensors"))


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path, ROOM)


@pytest.fixture
def counted(monkeypatch):
    """How often each MLP of a Llama is computed; a hook would be somebody else's, and keep everything off the disk."""
    model, seen = tiny_model("llama-gqa"), Counter()
    number = {layer.mlp: i for i, layer in enumerate(model.model.layers)}
    cls = type(model.model.layers[0].mlp)
    forward = cls.forward

    def counting(self, x):
        seen[number[self]] += 1
        return forward(self, x)

    monkeypatch.setattr(cls, "forward", counting)
    return model, seen


@pytest.mark.parametrize("tier", ["all", "prefix"])
@pytest.mark.parametrize("family", ["llama-gqa", "gemma2", "gpt2"])
def test_from_disk_everything_is_bit_for_bit_what_it_is_from_memory(family, tier, cache):
    model = tiny_model(family)
    for i, sites in enumerate((SITES["block_output"], SITES["last_block"], SITES["four_sites"])):
        data = Named(RandomPairs(7, [["source"]] * len(sites), labels=2, written="last" if i == 1 else 2))
        found = []
        for budget in (ROOM, 0):
            interventions = made(model, sites)
            engine = Engine(model, interventions.placements)
            ready = prepare(
                engine, data, runs=JSD().needs.runs, tier=tier, budget_bytes=budget, batch_size=3, cache=cache
            )
            assert ready.tier == tier and ("on disk" in ready.reason) == (ready.nbytes == 0) == (budget == 0)
            found.append(outcome(interventions, ready, data.collate([4, 0, 6]), JSD()))
        (loss, gradients), (other, others) = found
        assert torch.equal(loss, other) and max(float(g.norm()) for g in gradients) > 0
        assert all(torch.equal(g, o) for g, o in zip(gradients, others, strict=True))


def test_a_later_run_reads_the_file_and_runs_the_model_only_where_it_trains(counted, cache):
    model, seen = counted
    first, interventions = kept(model, DATA, cache)
    expected = outcome(interventions, first, DATA.collate([4, 0]), JSD())
    assert seen[0] > 0 and EARLIER not in first.reason
    seen.clear()
    again, interventions = kept(model, DATA, cache)
    assert not seen and EARLIER in again.reason and again.nbytes == 0
    outputs = again.outputs(DATA.collate([4, 0]), interventions)
    outputs.logits.sum().backward()
    assert seen == {2: 1} and set(outputs.runs) == {"target", "reference"}, "references are kept like targets"
    got = outcome(interventions.requires_grad_(), again, DATA.collate([4, 0]), JSD())
    assert torch.equal(expected[0], got[0])


def test_memory_comes_first_and_the_reason_says_what_is_where(cache):
    model = tiny_model("llama-gqa")
    roomy, _ = kept(model, DATA, cache, budget=ROOM, tier="auto")
    assert roomy.tier == "all" and roomy.nbytes > 0 and not cache.folder.exists()
    tight, _ = kept(model, DATA, cache, tier="auto")
    assert tight.tier == "all" and "1 MiB, over the budget of 0 MiB: on disk" in tight.reason
    assert str(cache.file(files(cache)[0].removesuffix(".safetensors"))) in tight.reason
    unnamed, _ = kept(model, DATA.pairs, cache, tier="auto")
    assert unnamed.tier == "hooks" and "no fingerprint" in unnamed.reason


def test_anything_that_changes_the_numbers_changes_the_key(cache, monkeypatch):
    model = tiny_model("llama-gqa")
    made_by = {"first": kept(model, DATA, cache)[0]}
    other = Named(RandomPairs(7, [["source"]], labels=3, seed=1))
    made_by["data"] = kept(model, other, cache)[0]
    made_by["site"] = kept(model, DATA, cache, site=Site(1, "mlp_output"))[0]
    made_by["runs"] = kept(model, DATA, cache, runs=("target",))[0]
    made_by["tier"] = kept(model, DATA, cache, tier="prefix")[0]
    made_by["store"] = kept(model, DATA, cache, store="bfloat16")[0]
    before = fingerprint(model), checksum(model)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[5, 40] += 1e-3
    assert fingerprint(model) == before[0] and checksum(model) != before[1], "samples would not see it"
    made_by["weights"] = kept(model, DATA, cache)[0]
    monkeypatch.setattr(identity, "version", lambda name: "0")
    made_by["versions"] = kept(model, DATA, cache)[0]
    assert not [name for name, ready in made_by.items() if EARLIER in ready.reason]
    assert len(files(cache)) == len(made_by)
    assert EARLIER in kept(model, DATA, cache)[0].reason


def test_a_model_with_somebody_else_s_hooks_is_nobody_s(cache):
    model = tiny_model("llama-gqa")
    kept(model, DATA, cache)
    handle = model.model.embed_tokens.register_forward_hook(lambda m, args, out: out * 2)
    ready, _ = kept(model, DATA, cache)
    handle.remove()
    assert EARLIER not in ready.reason and "hooks" in ready.reason and ready.nbytes > 0, "in memory, as asked for"


def test_a_damaged_file_is_made_anew(cache, caplog):
    model = tiny_model("llama-gqa")
    ready, interventions = kept(model, DATA, cache)
    expected = outcome(interventions, ready, DATA.collate([1]), JSD())
    kept(model, Named(RandomPairs(7, [["source"]], labels=3, seed=1)), cache)
    for damage in ("half", "nonsense", "another's"):
        mine, another = (cache.folder / name for name in files(cache))
        mine, another = (mine, another) if mine.stem in ready.reason else (another, mine)
        content = mine.read_bytes()
        wrong = {"half": content[: len(content) // 2], "nonsense": b"x" * 99, "another's": another.read_bytes()}
        mine.write_bytes(wrong[damage])
        again, interventions = kept(model, DATA, cache)
        assert EARLIER not in again.reason and "damaged" in caplog.text, damage
        assert torch.equal(outcome(interventions, again, DATA.collate([1]), JSD())[0], expected[0])
        assert mine.read_bytes() == content
        caplog.clear()


def test_an_interrupted_collecting_leaves_nothing(cache):
    model = tiny_model("llama-gqa")
    with pytest.raises(KeyboardInterrupt):
        kept(model, Named(DATA.pairs, cut=3), cache)
    assert not files(cache) and not list(cache.folder.glob("*.part"))
    assert EARLIER not in kept(model, DATA, cache)[0].reason


def test_a_killed_writer_leaves_nothing_that_could_be_used(cache):
    model = tiny_model("llama-gqa")
    kept(model, DATA, cache)
    [name] = files(cache)
    (cache.folder / name).unlink()
    killed = (
        "import os, pathlib, torch; from das.engine.mapped import write\n"
        f"file = pathlib.Path({str(cache.folder / name)!r})\n"
        "write(file, {'x': (torch.float32, (1000, 100))}, {'key': file.stem}, lambda tensors: os._exit(9))"
    )
    assert subprocess.run([sys.executable, "-c", killed]).returncode == 9
    [part] = cache.folder.glob("*.part")
    assert not files(cache) and part.stat().st_size > 400_000
    with cache.lock(part.name.split(".")[0]):
        assert cache.sweep() == 0 and part.exists(), "somebody who holds the lock is still writing it"
    again, _ = kept(model, DATA, cache)
    assert EARLIER not in again.reason and files(cache) == [name] and not part.exists()


def test_what_was_not_used_longest_makes_room(tmp_path):
    model, (one, two, three) = (
        tiny_model("llama-gqa"),
        (Named(RandomPairs(7, [["source"]], labels=3, seed=seed, ragged=False)) for seed in (1, 2, 3)),
    )
    roomy = DiskCache(tmp_path, ROOM)
    names = []
    for age, data in enumerate((one, two)):
        kept(model, data, roomy)
        [name] = set(files(roomy)) - set(names)
        names.append(name)
        os.utime(roomy.folder / name, (1000 + age, 1000 + age))
    size = roomy.entries()[0].size
    tight = DiskCache(tmp_path, int(2.5 * size))
    assert EARLIER in kept(model, one, tight)[0].reason  # and so it is used last
    ready, interventions = kept(model, two, tight)
    os.utime(tight.folder / names[1], (1002, 1002))
    kept(model, three, tight)
    assert names[0] in files(tight) and names[1] not in files(tight) and len(files(tight)) == 2
    ready.outputs(two.collate([0, 3]), interventions)  # whoever has it mapped goes on with it
    small, _ = kept(model, two, DiskCache(tmp_path, size // 2), tier="auto", budget=20_000)
    assert small.tier == "prefix" and "limit" in small.reason and small.nbytes > 0 and len(files(tight)) == 2


def test_a_full_disk_is_no_error(cache, monkeypatch):
    model = tiny_model("llama-gqa")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        full, _ = kept(model, DATA, cache, tier="auto", budget=20_000)
    assert full.tier == "prefix" and "free on the disk" in full.reason

    def none_left(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", none_left)
    full, _ = kept(model, DATA, cache, tier="auto")
    assert full.tier == "hooks" and "No space left on device" in full.reason and not list(cache.folder.glob("*.part"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
def test_reading_rows_does_not_load_the_file(tmp_path):
    rows, tokens, file = 1000, 16, tmp_path / "large.safetensors"
    blank = {"residual": (torch.float32, (rows * tokens + 1, 1024))}
    write(file, blank, {}, lambda tensors: tensors["residual"][5 * tokens].fill_(1.0))
    found = read(file)
    assert found is not None
    form = Form((1024,), torch.float32, torch.device("cpu"))
    axis = Axis(torch.full((rows,), tokens), "right")
    got = TokenStore(found[0]["residual"], form).get(axis.index(torch.tensor([900, 5, 17]), tokens))
    assert float(got.sum()) == 1024 and float(got[1, 0].sum()) == 1024
    resident, mine = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            mine = line.endswith(file.name)
        elif mine and line.startswith("Rss:"):
            resident += int(line.split()[1]) << 10
    assert got.nbytes <= resident < 16 * got.nbytes < file.stat().st_size / 20
