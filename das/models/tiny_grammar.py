"""The text the embedded tiny model is trained on: short stories from a grammar of the project's own.

Every story introduces one child by name and then follows the child with pronouns for five or six sentences, so that
which pronoun comes next depends on the name alone. `story(rng)` is a pure function of the generator it is given.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from das.tasks.names import BOYS, GIRLS

#: The words a sentence can be built from; `{child}` is a noun without gender on purpose.
WORDS: dict[str, tuple[str, ...]] = {
    "adj": ("little", "happy", "kind", "curious", "brave", "small", "young", "funny", "clever", "quiet"),
    "child": ("child", "child", "child", "kid"),
    "hobby": ("play", "play", "play", "run", "sing", "dance", "read", "draw", "jump", "climb"),
    "place": ("park", "park", "park", "garden", "forest", "yard", "field", "meadow", "woods", "village"),
    "home": ("house", "cottage", "cabin", "town", "farm"),
    "colour": ("red", "blue", "green", "yellow", "white", "black", "brown", "gray", "pink", "purple"),
    "size": ("big", "small", "tiny", "round", "shiny", "soft", "pretty", "new"),
    "animal": ("bird", "cat", "dog", "rabbit", "frog", "duck", "fox", "mouse", "horse", "turtle", "bear", "squirrel"),
    "object": ("ball", "box", "hat", "book", "toy", "kite", "cup", "key", "doll", "drum", "boat", "bell", "car"),
    "food": ("cake", "bread", "soup", "cheese", "pie", "jam", "rice", "milk"),
    "spot": ("tree", "rock", "bush", "bench", "bridge", "fence", "log", "wall"),
    "family": ("mom", "dad", "grandma", "grandpa", "sister", "brother", "friend", "teacher"),
    "mood": ("happy", "glad", "proud", "excited", "calm"),
    "sad": ("sad", "scared", "hungry", "tired", "lost", "cold"),
    "time": ("day", "day", "day", "day", "morning", "afternoon", "sunny day"),
}

#: Openings: the first two are the sentence form of the name_gender task.
OPENINGS: tuple[str, ...] = (
    "Once upon a time, there was a {adj} child named {name}. {name} loved to play in the {place}.",
    "Once upon a time, there was a {adj} child named {name}. {name} loved to {hobby} in the {place}.",
    "Once upon a time, there was a {adj} {child} named {name}. {name} liked to {hobby} near the {place}.",
    "Once upon a time, there was a {adj} {child} named {name} who loved to {hobby}. {name} lived in a {size} {home}.",
    "There was once a {adj} {child} named {name}. {name} lived in a {home} near the {place}.",
    "{name} was a {adj} {child}. {name} had a {colour} {object} and a {size} {object2}.",
    "A {adj} {child} named {name} lived in a {home}. {name} loved to {hobby} with a {colour} {object}.",
)

FILLERS: tuple[str, ...] = (
    "The sun was warm and the sky was blue.",
    "The {place} was full of {colour} flowers.",
    "There was a {size} {spot} in the {place}.",
    "The wind was soft and the {animal2} was asleep.",
)

#: What happens: every plot is a list of steps, every step a choice of sentences. Things come back as "it", so a small
#: model need not remember them, and the child comes back as a pronoun.
PLOTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (
        ("{he} saw a {colour} {animal} near a {spot}.", "{he} met a {size} {animal} in the {place}."),
        ("It was {sad}.", "It looked very {sad}."),
        ("{He} gave it some {food}.", "{He} wanted to help, so {he} gave it some {food}."),
        ("It was happy and followed {him} home.", "It thanked {him} and played with {him}."),
        ("{He} told {his} {family} all about it.", "{He} gave it a big hug."),
    ),
    (
        ("{he} found a {colour} {object} under a {spot}.", "{he} saw a {size} {object} near a {spot}."),
        ("{He} picked it up and showed it to {his} {family}.", "{He} picked it up and ran to {his} {family}."),
        ('"Look what I found!" {he} said.', '"Look at this!" {he} said.'),
        ("Everyone smiled and gave {him} a hug.", "Everyone liked it and played with {him}."),
        ("{He} put it in {his} bag and went home.", "{He} kept it next to {his} bed."),
    ),
    (
        ("{he} lost {his} {colour} {object}.", "{he} could not find {his} {object}."),
        ("{He} looked under the {spot}, but it was not there.", "{He} looked in the {place}, but it was not there."),
        ("{He} felt {sad} and asked {his} {family} for help.", "{He} felt {sad} and began to cry."),
        ("A {size} {animal} came and helped {him} look for it.", "A {size} {animal} told {him} not to worry."),
        ("At last, {he} found it near the {spot2}.", "Then {he} saw it under the {spot2}."),
    ),
    (
        ("{he} wanted to make some {food} for {his} {family}.", "{he} made some {food} with {his} {family}."),
        ("{He} worked hard and did it all by {himself}.", "{He} washed {his} hands and got to work."),
        ("Everyone liked it and thanked {him}.", '"This is good!" {he} said.'),
        ("{He} gave some of it to a {size} {animal}.", "{He} shared it with {his} {family2}."),
    ),
    (
        ("{he} went to the {place} with {his} {family}.", "{he} took {his} {object} to the {place}."),
        ("{He} climbed on a {spot} and fell down.", "{He} ran so fast that {he} hurt {himself}."),
        ("A {size} {animal} came and sat next to {him}.", "A kind {animal} ran to {him}."),
        ("It made {him} feel better.", "Soon {he} felt better and laughed."),
    ),
)

ENDINGS: tuple[str, ...] = (
    "{He} was very {mood}.",
    "{He} was so {mood} and went to sleep in {his} bed.",
    "{He} smiled and was proud of {himself}.",
    "From that day on, {he} was always {mood}.",
    "{name} was very {mood}.",
)

_SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself", "He": "She", "His": "Her"}
_HE = {word: word for word in _SHE}


def _words(rng: random.Random, name: str) -> dict[str, str]:
    """One draw of every word; `x2` is drawn independently of `x`."""
    words = {key: rng.choice(choices) for key, choices in WORDS.items()}
    twice = {f"{key}2": rng.choice(WORDS[key]) for key in ("object", "animal", "spot", "family")}
    return {**words, **twice, **(_SHE if name in GIRLS else _HE), "name": name}


def story(rng: random.Random, names: Sequence[str] = GIRLS + BOYS) -> str:
    """One story; all randomness comes from `rng`."""
    words = _words(rng, rng.choice(names))
    sentences = [rng.choice(OPENINGS[:2] if rng.random() < 0.3 else OPENINGS)]
    if rng.random() < 0.3:
        sentences.append(rng.choice(FILLERS))
    first, *rest = (rng.choice(step) for step in rng.choice(PLOTS))
    sentences += ["One {time}, " + first, *rest, rng.choice(ENDINGS)]
    return " ".join(sentences).format(**words)


def stories(count: int, seed: int) -> list[str]:
    """`count` stories, the same for the same seed."""
    rng = random.Random(f"tiny-grammar-{seed}")
    return [story(rng) for _ in range(count)]
