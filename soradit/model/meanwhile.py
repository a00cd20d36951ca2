"""Prompts embedded by a process beside this one, while this one imports torch and reads weights. Needs no torch itself.

Nearly all of a text encoder's time is the import of transformers: two seconds on one core, beside which one is idle.
"""

import gc
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from soradit.imports import leave_out_compiling_and_sharding
from soradit.model.folder import TEXT_PARTS, fingerprint, identity, promised_hashes
from soradit.signals import held_back, leave_signals_to_the_first


@contextmanager
def embedded_meanwhile(folder: Path, prompts: Iterable[str]) -> Iterator[Callable[[], None]]:
    """While what is inside is done, another process puts the prompts' embeddings into the user's cache.

    Yields a function that waits until they are there. Nothing is promised: where another process would find no core of
    its own, or fails, whoever needs an embedding makes it.
    """
    known = cached_prompts(identity(promised_hashes(folder), *TEXT_PARTS))
    missing = [prompt for prompt in dict.fromkeys(prompts) if not entry_path(known, prompt).exists()]
    process = _start(folder, missing) if missing and _has_core_to_spare() else None
    try:
        yield process.join if process else lambda: None
    finally:
        if process:
            process.kill()


def user_cache() -> Path:
    """Where soradit may keep what it can make again: ``$XDG_CACHE_HOME/soradit``, by default ``~/.cache/soradit``."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soradit"
    except RuntimeError:  # a user without a home, as in containers: nothing is kept
        return Path(os.devnull) / "soradit"


def cached_prompts(identity: str) -> Path:
    """The folder of embeddings by the text encoder and tokenizer of that identity."""
    return user_cache() / "prompts" / identity


def entry_path(cache: Path, prompt: str) -> Path:
    return cache / f"{hashlib.sha256(prompt.encode()).hexdigest()}.safetensors"


def _start(folder: Path, prompts: list[str]) -> BaseProcess | None:
    process = get_context("spawn").Process(target=_embed, args=(folder, prompts), daemon=True)
    with suppress(OSError), held_back():  # too many processes, too little memory
        process.start()
        return process
    return None


def _embed(folder: Path, prompts: list[str]) -> None:
    """What fails here is told by the process that needs it."""
    leave_signals_to_the_first()
    gc.disable()
    with suppress(Exception):
        leave_out_compiling_and_sharding()
        from soradit.model.embeddings import CachedTextEncoder

        as_it_is = fingerprint(folder, *TEXT_PARTS)  # damaged or not
        encoder = CachedTextEncoder(folder, as_it_is)
        for prompt in prompts:
            encoder.count_tokens(prompt)
    os._exit(0)  # at once: Python's own end takes long after such imports, and somebody waits


def _has_core_to_spare() -> bool:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > 1 and os.environ.get("OMP_NUM_THREADS") != "1"  # which a process is given whose neighbours are many
