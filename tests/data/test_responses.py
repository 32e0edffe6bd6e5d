from __future__ import annotations

import pytest
import torch

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.responses import write_responses
from das.errors import ContextLengthError, LabelError
from das.types import Contrast, Prompt

TEXTS = ["Tim went home", "Sue", "One day a boy named Tim saw a girl", "He said hello, she said", "Yes or no?", "Sure"]


@pytest.fixture
def encoder(tokenizer):
    return Encoder(tokenizer, context_length=128)


def contrasts():
    return [Contrast(Prompt(a), Prompt(b)) for a, b in zip(TEXTS[::2], TEXTS[1::2], strict=True)]


def plain_greedy(model, ids, n):
    """The reference: the whole sequence through the model at every step."""
    ids = list(ids)
    start = len(ids)
    with torch.no_grad():
        for _ in range(n):
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == 1:
                break
            ids.append(token)
    return tuple(ids[start:])


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_equals_plain_greedy_alone_or_in_a_batch(model, encoder, batch_size):
    written = write_responses(model, encoder, contrasts(), 8, batch_size)
    assert len(written) == 3
    for before, after in zip(contrasts(), written, strict=True):
        for prompt, ids in ((before.negative, after.negative_ids), (before.positive, after.positive_ids)):
            assert ids == plain_greedy(model, encoder.encode(prompt).ids, 8)
            assert 0 < len(ids) <= 8
        assert after.contrast.negative == before.negative
        assert after.contrast.negative_response == encoder.tokenizer.decode(
            list(after.negative_ids), skip_special_tokens=True
        )


def test_stops_before_the_end_token(model, encoder, monkeypatch):
    prompt = encoder.encode(Prompt(TEXTS[0]))
    full = plain_greedy(model, prompt.ids, 8)
    stop = next(t for t in full if t != full[0])
    monkeypatch.setattr(model.generation_config, "eos_token_id", [stop])
    written = write_responses(model, encoder, contrasts(), 8)[0]
    assert written.negative_ids == full[: full.index(stop)]


def test_an_empty_response_is_an_error(model, encoder, monkeypatch):
    first = plain_greedy(model, encoder.encode(Prompt(TEXTS[0])).ids, 1)[0]
    monkeypatch.setattr(model.generation_config, "eos_token_id", first)
    with pytest.raises(LabelError, match=r"response is empty.*Got Tim went home"):
        write_responses(model, encoder, contrasts(), 8)


def test_given_responses_are_kept(model, encoder):
    one = write_responses(model, encoder, [Contrast(Prompt("Sue"), Prompt("Tim"), "Sure", None)], 3)[0]
    assert one.contrast.negative_response == "Sure" and one.negative_ids == encoder.response_ids("Sure")
    assert one.positive_ids == plain_greedy(model, encoder.encode(Prompt("Tim")).ids, 3)


def test_too_long_for_the_context(model, tokenizer):
    with pytest.raises(ContextLengthError, match="context is 20"):
        write_responses(model, Encoder(tokenizer, context_length=20), contrasts(), 20)


def test_written_contrasts_make_a_dataset_of_their_ids(model, encoder):
    written = write_responses(model, encoder, contrasts(), 5)
    data = PairDataset(written, encoder, [("all", {"source": "last"})])
    batch = data.collate(range(6))
    labels = [ids[mask].tolist() for ids, mask in zip(batch.label_ids, batch.label_mask, strict=True)]
    assert labels == [list(ids) for w in written for ids in (w.positive_ids, w.negative_ids)]
    model_ids = model(
        input_ids=batch.sources["source"].ids,
        attention_mask=batch.sources["source"].mask.long(),
        position_ids=batch.sources["source"].position_ids,
    ).logits.argmax(-1)
    predicted = model_ids.gather(1, batch.target_positions)
    assert torch.equal(predicted[batch.label_mask], batch.label_ids[batch.label_mask])
