import random
import re
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from das.errors import ModelError
from das.models.cache import model_dir, recipe_hash
from das.models.recipes import tiny as tiny_recipe
from das.models.recipes.tiny import RECIPE, tiny_config, tiny_tokenizer
from das.models.tiny_grammar import PLOTS, WORDS, stories, story
from das.tasks.base import SPLITS
from das.tasks.name_gender import NameGender
from das.tasks.names import BOYS, GIRLS

TASK = NameGender()
SHE, HE = (set(TASK.concept_words[value]) for value in ("positive", "negative"))
SAVED = {"config.json", "model.safetensors", "tokenizer.json"}


def words(text):
    return re.findall(r"\w+", text.lower())


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def trained():
    """The real model: trained once per machine, read from the cache afterwards."""
    folder = model_dir("tiny", progress=False)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_the_grammar_is_deterministic_and_varied():
    assert stories(50, 0) == stories(50, 0) != stories(50, 1)
    assert len(set(stories(2000, 0))) > 1980
    random.seed(1)
    assert story(random.Random(7)) == story(random.Random(7))


def test_pronouns_follow_the_name():
    for name, own, other in [("Lily", SHE, HE), ("Tim", HE, SHE)]:
        rng = random.Random(0)
        for _ in range(300):
            seen = words(story(rng, [name]))
            assert not other & set(seen)
            assert sum(w in own for w in seen) > seen.count(name.lower())


def test_no_story_has_gender_before_its_first_pronoun_but_in_the_name():
    for text in stories(500, 0):
        opening = text[: text.index("One ")]
        assert not (SHE | HE | {"girl", "boy"}) & set(words(opening))


def test_every_choice_of_the_grammar_can_be_reached():
    seen = set(words(" ".join(stories(3000, 0))))
    assert {w.lower() for choices in WORDS.values() for w in " ".join(choices).split()} <= seen
    assert {n.lower() for n in GIRLS + BOYS} <= seen
    assert len(PLOTS) == 5


def test_the_tokenizer_is_deterministic(tokenizer):
    assert tiny_tokenizer().backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(tokenizer) <= tiny_config().vocab_size


def test_special_tokens_and_round_trip(tokenizer):
    text = TASK.prompts("test", 1, 0)[0][0].text
    ids = tokenizer(text)["input_ids"]
    config = tiny_config()
    assert ids[0] == tokenizer.bos_token_id == config.bos_token_id
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (config.eos_token_id, config.pad_token_id)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer("Él zig-zags: ünïcode!")["input_ids"][1:]) == "Él zig-zags: ünïcode!"


@pytest.mark.parametrize("split", SPLITS)
def test_labels_and_names_are_one_token_and_offsets_are_exact(tokenizer, split):
    for prompt, _ in TASK.prompts(split, 40, 0):
        encoded = tokenizer(prompt.text, return_offsets_mapping=True)
        for label in TASK.labels:
            assert tokenizer(prompt.text + label)["input_ids"][:-1] == encoded["input_ids"]
        assert set(prompt.spans["name"]) <= set(encoded["offset_mapping"])


def test_config_needs_no_weights_and_has_the_depth_the_recipe_promises():
    config = tiny_config()
    assert config.model_type == "llama" and config.num_hidden_layers >= 6


def test_training_is_deterministic_and_leaves_no_trace(tokenizer):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    losses = []
    with torch.no_grad():
        one = tiny_recipe.train_tiny(tokenizer, steps=3, report=lambda step, loss: losses.append((step, loss)))
    torch.manual_seed(5)
    two = tiny_recipe.train_tiny(tokenizer, steps=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert [step for step, _ in losses] == [1, 2, 3] and losses[-1][1] < losses[0][1]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), torch.manual_seed(5).get_state())
    torch.random.set_rng_state(state)


def test_later_blocks_learn_faster():
    model = tiny_recipe.LlamaForCausalLM(tiny_config())
    rate = {id(group["params"][0]): group["lr"] for group in tiny_recipe._groups(model)}
    rates = [rate[id(layer.mlp.up_proj.weight)] for layer in model.model.layers]
    assert rates == pytest.approx([tiny_recipe.LEARNING_RATE * tiny_recipe.LAYER_DECAY**i for i in range(5, -1, -1)])
    assert rate[id(model.model.embed_tokens.weight)] == tiny_recipe.LEARNING_RATE


@pytest.fixture
def short(monkeypatch):
    """Training of two steps, counted."""
    calls, original = [], tiny_recipe.train_tiny

    def train(tokenizer, report):
        calls.append(1)
        return original(tokenizer, steps=2, report=report)

    monkeypatch.setattr(tiny_recipe, "train_tiny", train)
    return calls


def test_the_cache_is_complete_atomic_and_used(tmp_path, short, monkeypatch):
    folder = model_dir("tiny", tmp_path, progress=False)
    assert folder == tmp_path / "tiny" / recipe_hash(RECIPE) and folder.is_dir()
    assert {f.name for f in folder.iterdir()} >= SAVED
    assert [f for f in folder.parent.iterdir() if f.is_dir()] == [folder]
    monkeypatch.setenv("DAS_CACHE", str(tmp_path))
    assert model_dir("tiny", progress=False) == folder
    assert len(short) == 1


def test_an_interrupted_training_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(tokenizer, report):
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_recipe, "train_tiny", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model_dir("tiny", tmp_path, progress=False)
    assert not [f for f in (tmp_path / "tiny").iterdir() if f.is_dir()]


def test_concurrent_callers_train_once(tmp_path, short):
    folders = []
    callers = [threading.Thread(target=lambda: folders.append(model_dir("tiny", tmp_path, False))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(set(folders)) == 1 and len(folders) == 3 and len(short) == 1


def test_progress_goes_to_stderr(tmp_path, short, capsys):
    model_dir("tiny", tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "tiny model" in err


def test_a_cache_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="DAS_CACHE"):
        model_dir("tiny", tmp_path / "file", progress=False)


@torch.no_grad()
def test_the_trained_model_gets_every_name_right(trained):
    model, tokenizer = trained
    prompts = [p for split in SPLITS for p in TASK.prompts(split, 200, 0)]
    assert {w for p, _ in prompts for w in words(p.text)} >= {n.lower() for n in GIRLS + BOYS}
    ids = torch.tensor([tokenizer(prompt.text)["input_ids"] for prompt, _ in prompts])
    she, he = (tokenizer(label)["input_ids"][-1] for label in TASK.labels)
    logits = model(ids).logits[:, -1]
    right = torch.tensor([she if label == TASK.positive else he for _, label in prompts])
    accuracy = (torch.where(logits[:, she] > logits[:, he], she, he) == right).float().mean()
    assert accuracy >= 0.99
    assert (logits.argmax(-1) == right).float().mean() >= 0.99


def hidden_at(model, ids, layer):
    return model(ids, output_hidden_states=True).hidden_states[layer + 1]


@torch.no_grad()
def swap_flips(trained, layer, name):
    """Share of label-changing held-out pairs flipped by a full-vector swap at the name's mentions or the last token."""
    model, tokenizer = trained
    pairs = [p for p in TASK.pairs("test", 80, 0) if p.changed]
    encode = lambda prompts: [tokenizer(p.text, return_offsets_mapping=True) for p in prompts]  # noqa: E731
    bases, sources = encode([p.base for p in pairs]), encode([p.sources["source"] for p in pairs])
    ids = [torch.tensor([e["input_ids"] for e in side]) for side in (bases, sources)]
    at = torch.zeros_like(ids[0], dtype=torch.bool)
    for row, (pair, encoded) in enumerate(zip(pairs, bases, strict=True)):
        at[row] = torch.tensor([offset in pair.base.spans["name"] for offset in encoded["offset_mapping"]])
    if not name:
        at = torch.zeros_like(at).index_fill(1, torch.tensor([at.shape[1] - 1]), True)
    source = hidden_at(model, ids[1], layer)
    hook = model.model.layers[layer].register_forward_hook(lambda m, i, out: torch.where(at[..., None], source, out))
    try:
        logits = model(ids[0]).logits[:, -1]
    finally:
        hook.remove()
    labels = torch.tensor(
        [[tokenizer(t)["input_ids"][-1] for t in (p.counterfactual_label, p.base_label)] for p in pairs]
    )
    new, old = logits.gather(1, labels).T
    return (new > old).float().mean().item()


def test_gender_is_stored_at_the_name_and_read_after_layer_two(trained):
    assert swap_flips(trained, 2, name=True) >= 0.98
    assert swap_flips(trained, 2, name=False) <= 0.10
    assert swap_flips(trained, 5, name=True) <= 0.10


@torch.no_grad()
def test_generated_stories_keep_the_pronoun(trained):
    model, tokenizer = trained
    for prompt, label in TASK.prompts("test", 6, 0):
        encoded = tokenizer(prompt.text, return_tensors="pt")
        out = model.generate(**encoded, max_new_tokens=40, do_sample=False)[0, encoded["input_ids"].shape[1] :]
        seen = words(tokenizer.decode(out))
        own, other = (SHE, HE) if label == TASK.positive else (HE, SHE)
        assert sum(w in own for w in seen) >= 3 and not other & set(seen)
