"""two_lexicons: a source's own response is the counterfactual one, and the oracle agrees with the causal model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from das.steering.judges.base import Generation
from das.steering.judges.oracle import Oracle
from das.tasks.two_lexicons import CUES, GRAND, LEXICONS, OPENERS, PLAIN, TwoLexicons, contents_of, words

TASK = TwoLexicons()


def style(text: str) -> str:
    return PLAIN if text.split()[0] in CUES[PLAIN] else GRAND


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), split=st.sampled_from(["train", "val", "test"]))
def test_the_source_s_own_label_is_the_counterfactual_one(seed, split):
    for pair in TASK.pairs(split, 4, seed):
        base, source = pair.base.text, pair.sources["source"].text
        assert base.split()[1:] == source.split()[1:] and base != source and pair.target == "source"
        assert (
            pair.base_label == f" {OPENERS[style(base)]}" and pair.counterfactual_label == f" {OPENERS[style(source)]}"
        )


def test_the_oracle_agrees_with_the_causal_model():
    contrasts = TASK.contrasts("test", 20, 0)
    judge = Oracle(
        LEXICONS, contents_of(p for c in contrasts for p in (c.negative, c.positive)), tuple(OPENERS.values())
    )
    for c in contrasts:
        assert style(c.negative.text) == PLAIN and style(c.positive.text) == GRAND
        yes, no, mixed = judge(
            [
                Generation(c.negative.text, c.positive_response, GRAND),
                Generation(c.negative.text, c.negative_response, GRAND),
                Generation(c.negative.text, c.positive_response[:-2] + "um", GRAND),
            ]
        )
        assert (yes.concept, yes.instruct, yes.fluency, yes.overall) == (2, 2, 2, 2.0)
        assert (no.concept, no.overall, no.suppressed) == (0, 0.0, 2.0) and mixed.concept == 1
        assert {*c.negative.text.split(), *c.positive_response.split()} <= set(words())
