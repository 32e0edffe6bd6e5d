"""causalgym: which direction carries what decides the next word of a sentence? (CausalGym, arXiv 2402.12560)

    The guard near the actor | is      ->      The guards near the actor | are

A pair has two sentences of different types that share all other words; the label is the source's own continuation.
Labels are drawn from each type's list. Half of the pairs are the other half with base and source exchanged. Spans and
template language: `das.tasks.templates`; CausalGym's sites are `block_output` at "span:NAME:last" for every name of
`task.spans`, at every layer.

control     the labels of CausalGym's control task: the first type is followed by " dog" and the second by " give", so
            that what a method finds there is its own doing, not the model's
unchanged   share of the pairs whose two sentences are of one type, so that the label stays; CausalGym has none; with
            some, pairs have no run to be matched, since a label that stays need not be what follows the source

Every pair changes its label then, and a no-op has IIA 0 and log odds-ratio 0. A sentence belongs to the split that its
text decides, 6:2:2, whatever the seed; so splits share no sentence. Of several labels per type the metric `iia` asks
for the one that was drawn; CausalGym's own accuracy is `pairwise_iia`. Torch-free.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping

from das.errors import ConfigError, EmptySplitError
from das.tasks.base import check_split, stream
from das.tasks.templates import Gym, read_gym
from das.types import SOURCE, CounterfactualPair, Prompt, SpanFinder

#: Continuations of the control task.
CONTROL = (" dog", " give")
#: Sentences are dealt to the splits in parts of the space of all texts.
PARTS = 10
_HOME: Mapping[str, range] = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
_TRIES = 5000


class CausalGym:
    """The causalgym task; see the module's docstring.

    Args:
        gym: templates, types, fillers.
        task: its name.
        control: give the control task's labels.
        unchanged: share of pairs of one type.

    Raises:
        ConfigError: a control of other than two types, or a share outside [0, 1].
    """

    finder: SpanFinder | None = None

    def __init__(self, gym: Gym, task: str, control: bool = False, unchanged: float = 0.0) -> None:
        if control and len(gym.types) != len(CONTROL):
            raise ConfigError("the control task is for two types", got=gym.types, remedy="use control=false")
        if not 0 <= unchanged <= 1:
            raise ConfigError("unchanged is a share", got=unchanged, remedy="give one from 0 to 1")
        self.name, self.gym, self.unchanged = task, gym, unchanged
        own = dict(zip(gym.types, ((label,) for label in CONTROL), strict=False))
        self._labels: Mapping[str, tuple[str, ...]] = own if control else gym.labels
        self.labels = tuple(dict.fromkeys(label for of in self._labels.values() for label in of))

    @property
    def spans(self) -> tuple[str, ...]:
        """Names of the spans that can be lined up, from the first label variable on."""
        return self.gym.spans

    def entities(self, split: str) -> frozenset[str]:
        """The parts of the space of sentences that belong to this split."""
        check_split(self.name, split)
        return frozenset(f"part {part} of {PARTS}" for part in _HOME[split])

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, each beside its exchange, in random order."""
        check_split(self.name, split)
        rng = stream(self.name, "pairs", split, n, seed)
        half = (n + 1) // 2
        stay = round(half * self.unchanged)
        found = [pair for i in range(half) for pair in self._both(split, i >= stay, rng)]
        rng.shuffle(found)
        return found[:n]

    def _both(self, split: str, change: bool, rng: random.Random) -> tuple[CounterfactualPair, CounterfactualPair]:
        """A pair and its exchange."""
        for _ in range(_TRIES):
            template = rng.choice(self.gym.templates)
            first, second = rng.sample(self.gym.types, 2)
            types, shared = (first, second if change else first), self.gym.shared(template, rng)
            prompts = [template.fill({**shared, **self.gym.own(of, rng)}) for of in types]
            if prompts[0] != prompts[1] and all(part_of(p.text) in _HOME[split] for p in prompts):
                labels = [rng.choice(self._labels[of]) for of in types]
                return self._pair(prompts, labels, change), self._pair(prompts[::-1], labels[::-1], change)
        raise EmptySplitError(
            f"split {split!r} of {self.name} has no two sentences of {'different types' if change else 'one type'}",
            got=f"{_TRIES} tries", remedy="use another split, or give the variables more fillers",
        )  # fmt: skip

    def _pair(self, prompts: list[Prompt], labels: list[str], change: bool) -> CounterfactualPair:
        kept = set(prompts[0].spans) & set(prompts[1].spans)
        base, source = (Prompt(p.text, {name: at for name, at in p.spans.items() if name in kept}) for p in prompts)
        label, target = labels[1] if change else labels[0], None if self.unchanged else SOURCE
        entities = frozenset(f"part {part_of(p.text)} of {PARTS}" for p in prompts)
        return CounterfactualPair(base, {SOURCE: source}, labels[0], label, target, entities)


def part_of(text: str) -> int:
    """The part of the space of sentences that a text lies in."""
    return zlib.crc32(text.encode()) % PARTS


def causalgym(path: str, name: str = "agr_sv_num_pp", control: bool = False, unchanged: float = 0.0) -> CausalGym:
    """A task of a file.

    Args:
        path: CausalGym's syntaxgym.json, or your own file of that schema.
        name: which of its tasks.
        control, unchanged: see `CausalGym`.

    Raises:
        ConfigError, UnknownChoiceError: see `das.tasks.templates.read_gym`.
    """
    return CausalGym(read_gym(path, name), name, control, unchanged)
