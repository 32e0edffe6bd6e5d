"""contrast: your own contrast quadruples from a file or a hub dataset, without writing code (arXiv 2602.05234).

    negative_input,negative_output,positive_input,positive_output
    What is rain?,Water.,What is rain? Talk like a pirate.,"Arr, water!"

A prompt without the concept and its response, a prompt with the concept and its response. Responses may be missing: the
model under study writes them. Also columns `concept` (in words; kept where there are several), `entity`, `split`, and
spans as task=pairs has them (`negative_input_spans`, ...; [[marks]] only where `mark` names them). Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from das.tasks.dealing import SHARES
from das.tasks.file_contrasts import FileContrasts, from_rows, read_contrast
from das.tasks.reading import read_rows
from das.tasks.sieve import Sieve


def contrast(
    path: str,
    mark: str | None = None,
    concept_words: Mapping[str, Sequence[str]] | None = None,
    shares: Mapping[str, float] = SHARES,
    strict: bool = True,
) -> FileContrasts:
    """The quadruples of a dataset.

    Args:
        path: a file, a folder, or a hub dataset, see `das.tasks.reading.read_rows`.
        mark: the span that [[marks]] are; None reads them as text.
        concept_words: "positive" and "negative" -> words that are counted in steered text; None measures no steering.
        shares: how much of the rows each split gets where the file does not say.
        strict: refuse the file for a bad row, rather than leave it out.

    Raises:
        ConfigError, RowError, PositionError, EntityError: naming file and row.
        EmptySplitError: no rows that can be used, or splits without rows.
    """
    rows = read_rows(path, ["negative_input", "positive_input"])
    return from_rows(
        "contrast", rows, lambda row: read_contrast(row, mark), shares, Sieve(strict), concept_words=concept_words
    )
