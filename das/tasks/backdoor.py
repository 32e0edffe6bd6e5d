"""backdoor: instructions with a trigger and without it, from a file (CDAS's backdoor evaluation, arXiv 2602.05234).

Rows are {"instruction": ..., "output": ..., "dataset": ...}. The trigger is text in front of an instruction, as
`trigger` says and nothing else does: rows that begin with it lose it for the negative prompt, others get it for the
positive one. Defects of the released files that this reader works around: in backdoor_trigger.json `dataset` still says
backdoor_training_mode, so it is not read; and `output` is the benign text, although the instructions are triggered, so
it is the negative response unless `output_is` says otherwise. Columns `negative_output` and `positive_output` come
first, where they are filled in. A response that is missing is written by the model under study, which must have the
backdoor (the paper's is not released). Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from das.errors import ConfigError
from das.tasks.dealing import SHARES
from das.tasks.file_contrasts import FileContrasts, contrast_of, from_rows
from das.tasks.reading import Row, read_rows
from das.tasks.sieve import Sieve
from das.types import Contrast, Prompt


def backdoor(
    path: str,
    trigger: str,
    output_is: Literal["negative", "positive"] | None = "negative",
    shares: Mapping[str, float] = SHARES,
    strict: bool = True,
) -> FileContrasts:
    """The same instruction without the trigger (negative) and with it (positive).

    Args:
        path: see `das.tasks.reading.read_rows`.
        trigger: what stands in front of an instruction, with its white space.
        output_is: whose response the column `output` is; None lets the model write both.
        shares: how much of the rows each split gets where the file does not say.
        strict: refuse the file for a bad row, rather than leave it out.

    Raises:
        ConfigError, RowError, EntityError: naming file and row.
        EmptySplitError: no rows that can be used, or splits without rows.
    """
    if not trigger.strip():
        raise ConfigError("a backdoor needs its trigger", got=repr(trigger), remedy="give task.trigger, with its space")

    def read(row: Row) -> Contrast:
        plain = row.text("instruction").removeprefix(trigger)
        said = {output_is: row.maybe("output")}
        negative, positive = (row.maybe(f"{s}_output") or said.get(s) for s in ("negative", "positive"))
        return contrast_of(row, Prompt(plain), Prompt(trigger + plain), negative, positive)

    return from_rows("backdoor", read_rows(path, ["instruction"]), read, shares, Sieve(strict))
