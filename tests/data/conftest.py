from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
CORPUS = [
    "Tim went home because he was tired. Sue went home because she was tired.",
    "Timothy and Susanna sat down. He said hello, she said goodbye.",
    "One day a boy named Tim saw a girl named Sue. Yes or no? Sure, here you are.",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def byte_level(trim: bool = False, add_eos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with BOS; `trim` decides whether offsets leave out leading spaces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|system|>", "<|assistant|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    single = "<s> $A </s>" if add_eos else "<s> $A"
    template = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=trim), template])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session", params=["byte-level", "byte-level-trimmed", "stories3M", "stories260K"])
def any_tokenizer(request):
    if request.param.startswith("byte-level"):
        return byte_level(trim="trimmed" in request.param)
    if not (MODELS / request.param).exists():
        pytest.skip(f"{MODELS / request.param} is not on this machine")
    return AutoTokenizer.from_pretrained(MODELS / request.param)


@pytest.fixture(scope="session")
def make_tokenizer():
    return byte_level


@pytest.fixture(scope="session")
def tokenizer():
    return byte_level()


@pytest.fixture
def chat_tokenizer():
    out = byte_level()
    out.chat_template = TEMPLATE
    return out


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=340, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, eos_token_id=1, bos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)
