"""refusal: contrasts of harmless and harmful instructions, from files (CDAS's safety evaluation, arXiv 2602.05234).

The schema is that of task=contrast: `positive_input` is a harmful instruction and `positive_output` a refusal,
`negative_input` a harmless one and `negative_output` a compliant answer. The paper trains on 128 such rows and tests on
100 of another file (made from JailbreakBench), which is `test_path`; its rows need no responses. The files are not part
of this package. The rule that turns generations into the paper's "suppression" rates was not released either: compare
such rates only where one rule has judged them all. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping

from das.tasks.dealing import SHARES
from das.tasks.file_contrasts import FileContrasts, from_rows, read_contrast
from das.tasks.reading import read_rows
from das.tasks.sieve import Sieve

_NEEDED = ("negative_input", "positive_input")


def refusal(
    path: str, test_path: str | None = None, shares: Mapping[str, float] = SHARES, strict: bool = True
) -> FileContrasts:
    """The contrasts of one dataset, or of one for train and val and another for the test.

    Args:
        path: see `das.tasks.reading.read_rows`.
        test_path: rows that are the test split, whatever they say themselves; None takes it from `path`.
        shares: how much of the rows each split gets where the file does not say.
        strict: refuse a file for a bad row, rather than leave it out.

    Raises:
        ConfigError, RowError, EntityError: naming file and row.
        EmptySplitError: no rows that can be used, or splits without rows.
    """
    test = [] if test_path is None else read_rows(test_path, _NEEDED)
    return from_rows("refusal", read_rows(path, _NEEDED), read_contrast, shares, Sieve(strict), test)
