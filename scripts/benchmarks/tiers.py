"""How much faster tier `all` is than `hooks`: a last-token site in the middle layer, loss and gradient equal first.

    python scripts/benchmarks/tiers.py [--layers 8 --width 512 --tokens 64 --batch 32 --rank 16 --steps 20 --json FILE]

Random Llama (8 heads, 4 key/value heads, intermediate 4 x width, vocabulary 8000). Both tiers run alternately in one
process; the ratio is of medians of forward + backward + optimiser step + retraction, with the interquartile range of
the paired ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.objectives.counterfactual_ce import CounterfactualCE
from das.types import Site

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.engine.pairs import RandomPairs


def main() -> None:
    """Assert equality, time, print."""
    args = arguments()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000, hidden_size=args.width, intermediate_size=4 * args.width, num_hidden_layers=args.layers,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=2 * args.tokens, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).requires_grad_(False).eval()
    data = RandomPairs(
        2 * args.batch, [["source"]], written="last", tokens=args.tokens, ragged=False, vocab=config.vocab_size
    )
    interventions = InterventionSet([(Site(args.layers // 2), das(args.width, args.rank))])
    engine = Engine(model, interventions.placements)
    began = time.perf_counter()
    fast = prepare(engine, data, tier="all")
    built = time.perf_counter() - began
    slow = prepare(engine, data, tier="hooks")
    batch = data.collate(range(args.batch))
    loss, gradient = assert_equal(fast, slow, batch, interventions)
    optimizer = torch.optim.AdamW(interventions.parameters(), lr=1e-3, weight_decay=0.0)
    times: dict[str, list[float]] = {"all": [], "hooks": []}
    for i in range(args.steps + 2):
        for name, prepared in (("hooks", slow), ("all", fast)):
            began = time.perf_counter()
            step(prepared, batch, interventions, optimizer)
            if i >= 2:
                times[name].append(time.perf_counter() - began)
    ratios = sorted(s / f for s, f in zip(times["hooks"], times["all"], strict=True))
    quarter = len(ratios) // 4
    median = {name: statistics.median(t) for name, t in times.items()}
    result = {
        "ratio": statistics.median(ratios), "ratio_iqr": [ratios[quarter], ratios[-1 - quarter]],
        "hooks_ms": 1e3 * median["hooks"], "all_ms": 1e3 * median["all"],
        "cache_build_ms": 1e3 * built, "loss_rel_err": loss, "grad_rel_err": gradient,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if args.json:
        Path(args.json).write_text(json.dumps({"tiers": result}, indent=2))


def step(prepared: object, batch: object, interventions: InterventionSet, optimizer: torch.optim.Optimizer) -> None:
    """One training step, as the LightningModule takes it."""
    optimizer.zero_grad(set_to_none=True)
    CounterfactualCE()(prepared.outputs(batch, interventions), batch).total.backward()
    optimizer.step()
    interventions.retract()


def assert_equal(fast: object, slow: object, batch: object, interventions: InterventionSet) -> tuple[float, float]:
    """Relative differences of loss and gradient, both at most 1e-5."""
    found = []
    for prepared in (slow, fast):
        loss = CounterfactualCE()(prepared.outputs(batch, interventions), batch).total
        found.append((loss.detach(), torch.autograd.grad(loss, list(interventions.parameters()))[0]))
    (loss_a, grad_a), (loss_b, grad_b) = found
    loss, gradient = float((loss_a - loss_b).abs() / loss_a), float((grad_a - grad_b).norm() / grad_a.norm())
    assert loss <= 1e-5 and gradient <= 1e-5, (loss, gradient)
    return loss, gradient


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 8), ("width", 512), ("tokens", 64), ("batch", 32), ("rank", 16), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
