"""Prompts embedded beside the work: the same numbers, sooner, and never a reason to fail."""

import shutil
from pathlib import Path

import pytest
import torch

from soradit.model import meanwhile
from soradit.model.embeddings import CachedTextEncoder
from soradit.model.folder import TEXT_PARTS, fingerprint
from soradit.model.meanwhile import embedded_meanwhile
from soradit.model.weights import load_text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(meanwhile, "_has_core_to_spare", lambda: True)
    return tmp_path / "cache"


def test_another_process_puts_them_into_the_cache(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ["", "a red sunset", "空"]
    with embedded_meanwhile(weights, prompts) as wait:
        wait()
    encoder = CachedTextEncoder(weights, fingerprint(weights, *TEXT_PARTS))
    text, pooled = encoder(prompts)
    assert "text_encoder" not in vars(encoder), "nothing is left to load"
    for cached, direct in zip((text, pooled), load_text(weights)(prompts), strict=True):
        torch.testing.assert_close(cached, direct)
    monkeypatch.setattr(meanwhile, "_start", lambda *_: pytest.fail("all are there already"))
    with embedded_meanwhile(weights, prompts) as wait:
        wait()


def test_what_fails_there_is_left_to_whoever_needs_it(weights: Path, cache: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(weights, damaged)
    (damaged / "tokenizer" / "tokenizer.json").write_text("{")
    with embedded_meanwhile(damaged, ["sky"]) as wait:
        wait()
    assert not list(cache.rglob("*.safetensors"))


def test_it_ends_with_what_it_was_started_for(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = [], meanwhile._start
    monkeypatch.setattr(meanwhile, "_start", lambda *given: started.append(start(*given)) or started[-1])
    with pytest.raises(KeyboardInterrupt), embedded_meanwhile(weights, ["sky"]):
        raise KeyboardInterrupt
    started[0].join(10)
    assert started[0].exitcode not in (None, 0)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("cores", "threads", "spare"), [(2, "", True), (2, "1", False), (1, "", False), (8, "4", True)]
)
def test_where_processes_have_one_core_each_there_is_no_second(
    cores: int, threads: str, spare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert meanwhile._has_core_to_spare() is spare
