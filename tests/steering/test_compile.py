"""Under torch.compile steering either works or says why not; in a fresh interpreter, without shape checks."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch
from das.errors import EngineError
from das.steering.steer import steer
from tests.families import tiny_ids, tiny_model
from tests.steering.conftest import _subspace

torch.set_num_threads(1)
model, ids = tiny_model("llama-gqa"), tiny_ids()
subspace, plain = _subspace(model, "from:2"), model(ids).logits
with steer(model, subspace, 1):
    expected, compiled = model(ids).logits, torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(ids).logits, expected)
    greedy = dict(max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(compiled.generate(ids, **greedy), model.generate(ids, **greedy))
assert not torch.allclose(plain, expected)
torch.testing.assert_close(compiled(ids).logits, plain)

torch.compiler.reset()
compiled = torch.compile(model, backend="eager")
compiled(ids)
with steer(model, subspace, 1):
    try:
        torch.testing.assert_close(compiled(ids).logits, expected)
    except EngineError as error:
        assert "Steer before torch.compile" in str(error)
print("done")
"""


def test_compiled_before_and_after(root):
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr[-2000:]
