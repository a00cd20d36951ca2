"""A folder of weights is whole, or is known not to be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from soradit.errors import SoraditError
from soradit.model.folder import SUMS, bundled_weights, identity, verify, write_sums
from soradit.model.weights import save_transformer

TENSORS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    return shutil.copytree(weights, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))


def test_what_training_publishes_lists_its_hashes(weights: Path) -> None:
    assert (weights / SUMS).is_file()
    hashes = verify(weights)
    assert TENSORS in hashes
    assert "tokenizer/tokenizer.json" in hashes
    assert not any(name.startswith("scheduler") for name in hashes), "settings may be changed by hand"


def test_the_bundled_weights_are_whole() -> None:
    verify(bundled_weights())


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_the_list_is_sha256sum_s(weights: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=weights, check=True)


def test_a_changed_file_is_named(copy: Path) -> None:
    content = bytearray((copy / TENSORS).read_bytes())
    content[-1] ^= 1
    (copy / TENSORS).write_bytes(content)
    with pytest.raises(SoraditError, match=f"{TENSORS} is damaged or was changed") as raised:
        verify(copy)
    assert SUMS in str(raised.value)
    (copy / SUMS).unlink()
    assert verify(copy), "without the list they are used as they are"


def test_a_file_that_is_missing_is_named(copy: Path) -> None:
    os.unlink(copy / "vae/config.json")
    with pytest.raises(SoraditError, match=r"vae/config\.json is missing"):
        verify(copy)


def test_other_files_beside_do_no_harm(copy: Path) -> None:
    before = identity(verify(copy))
    (copy / "transformer/.DS_Store").write_text("mess")
    (copy / "notes.txt").write_text("mine")
    assert identity(verify(copy)) == before
    write_sums(copy)
    (copy / "transformer/.DS_Store").unlink()
    assert identity(verify(copy)) == before, "and needn't stay"


def test_a_component_that_the_list_does_not_know_counts(copy: Path) -> None:
    """As where somebody copies a transformer into a run of the text encoder."""
    lines = (copy / SUMS).read_text().splitlines(keepends=True)
    (copy / SUMS).write_text("".join(line for line in lines if "  transformer/" not in line))
    before = identity(verify(copy), "transformer")
    (copy / "transformer/config.json").write_text((copy / "transformer/config.json").read_text() + "\n")
    assert identity(verify(copy), "transformer") != before


def test_the_identity_is_that_of_the_files(copy: Path) -> None:
    before = verify(copy)
    (copy / "transformer/config.json").write_text((copy / "transformer/config.json").read_text() + "\n")
    write_sums(copy)
    after = verify(copy)
    assert identity(after) != identity(before)
    assert identity(after, "text_encoder", "tokenizer") == identity(before, "text_encoder", "tokenizer")


def test_others_may_read_what_is_saved(copy: Path) -> None:
    from soradit.model.dit import DiT, DiTConfig
    from soradit.model.weights import load_text, save_text

    tiny = DiTConfig(depth=1, width=8, heads=1, latent_channels=4, text_dim=4, pooled_dim=4)
    save_transformer(copy, tiny, DiT(tiny).state_dict())
    save_text(copy, load_text(copy))
    (copy / "other").touch()
    for tensors in ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (copy / tensors).stat().st_mode == (copy / "other").stat().st_mode


def test_half_written_weights_are_never_taken_for_whole(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while tensors are written: no config, no list."""
    from soradit.model import weights as module
    from soradit.model.dit import DiTConfig

    shutil.rmtree(copy / "transformer")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save_transformer(copy, DiTConfig(), {})
    assert not (copy / SUMS).exists()
    assert not (copy / "transformer/config.json").exists()


def test_folders_are_checked_without_torch() -> None:
    code = "import sys; import soradit.model.folder, soradit.tasks.generate; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
