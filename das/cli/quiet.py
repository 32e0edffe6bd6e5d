"""Libraries keep their chatter to themselves; DAS_DEBUG=1 lets them talk."""

from __future__ import annotations

import logging
import os
import warnings

_CHATTY = ("pytorch_lightning", "lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric")


def quiet() -> None:
    """Silence Lightning's banners and tips, progress bars of loading, and warnings meant for other users."""
    if os.environ.get("DAS_DEBUG") == "1":
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (UserWarning, FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"pytorch_lightning|lightning|torch|wandb|pydantic")
