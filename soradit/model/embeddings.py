"""Prompts' embeddings, kept on disk: a prompt seen before needs no text encoder, and not the seconds to import one."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from soradit.files import write_whole
from soradit.model.conditioning import PromptEmbedding
from soradit.model.meanwhile import cached_prompts, entry_path
from soradit.model.weights import load_text

if TYPE_CHECKING:
    from soradit.model.text import TextEncoder


MAX_ENTRIES = 256
"""Prompts kept of one text encoder; the oldest go. 10 MB for the bundled one, 60 MB for CLIP's largest."""


@runtime_checkable
class PromptEncoder(Protocol):
    """What generating asks of a text encoder: ``soradit.model.text.TextEncoder`` is one."""

    @property
    def max_tokens(self) -> int: ...
    def __call__(self, prompts: Sequence[str]) -> PromptEmbedding: ...
    def count_tokens(self, prompt: str) -> int: ...


class CachedTextEncoder:
    """A folder's text encoder, loaded at the first prompt whose embedding is not in the user's cache."""

    def __init__(self, folder: Path, identity: str) -> None:
        """``identity`` is a hash of the text encoder's and the tokenizer's files."""
        self.folder = folder
        self.cache = cached_prompts(identity)

    @cached_property
    def text_encoder(self) -> "TextEncoder":
        return load_text(self.folder)

    def __call__(self, prompts: Sequence[str]) -> PromptEmbedding:
        """As ``TextEncoder`` gives them; one by one, so that an embedding never depends on its neighbours."""
        entries = [self._entry(prompt) for prompt in prompts]
        return torch.cat([entry["text"] for entry in entries]), torch.cat([entry["pooled"] for entry in entries])

    @cached_property
    def max_tokens(self) -> int:
        return self([""])[0].shape[1]

    def count_tokens(self, prompt: str) -> int:
        """Tokens of the whole prompt, start and end included: above ``max_tokens`` the rest is cut."""
        return int(self._entry(prompt)["num_tokens"])

    def _entry(self, prompt: str) -> dict[str, Tensor]:
        path = entry_path(self.cache, prompt)
        with suppress(OSError, SafetensorError):  # not there, or damaged
            return load_file(path)
        text, pooled = self.text_encoder([prompt])
        num_tokens = torch.tensor(self.text_encoder.count_tokens(prompt))
        entry = {"text": text.contiguous(), "pooled": pooled.contiguous(), "num_tokens": num_tokens}
        self._keep(path, entry)
        return entry

    def _keep(self, path: Path, entry: dict[str, Tensor]) -> None:
        """Whoever else writes; a cache that can't be written is no reason to stop."""
        with suppress(OSError):
            self.cache.mkdir(parents=True, exist_ok=True)
            write_whole(path, save(entry))
            by_age = sorted(self.cache.iterdir(), key=lambda p: p.stat().st_mtime)
            for outdated in by_age[:-MAX_ENTRIES]:
                outdated.unlink(missing_ok=True)
