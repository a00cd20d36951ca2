"""The text encoder: spells anything, embeds a prompt alone as in company, and is a plain CLIP on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

from soradit.errors import SoraditError
from soradit.model.folder import hash_files
from soradit.model.text import TextEncoder, TextEncoderConfig, load_text_encoder, new_text_encoder

CAPTIONS = ["a red sunset over the sea", "clouds drift over a blue sky", "a starry night"]
SMALL = TextEncoderConfig(max_tokens=16, width=32, depth=2, heads=2, pooled_dim=24)
ODD_PROMPTS = [
    "",
    "空",
    "sora: 空, 夕焼け",
    "🌅🌌👩‍🚀",
    "<b>bold</b> [red] {x} \\n %s $HOME",
    "ПРИВЕТ naïve",
    "a\tb\nc\0d",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """With weights that float16, in which they are saved, holds exactly."""
    return new_text_encoder(CAPTIONS, SMALL, seed=0).eval().requires_grad_(False).half().float()


@pytest.mark.parametrize("prompt", ODD_PROMPTS)
def test_anything_can_be_spelled(encoder: TextEncoder, prompt: str) -> None:
    ids = encoder.tokenizer(prompt).input_ids
    spelled = encoder.tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(spelled.split()) == "".join(prompt.lower().split())


@pytest.mark.parametrize("prompt", [*ODD_PROMPTS, "sky " * 2500, "x" * 10_000])
def test_any_prompt_gives_embeddings_of_one_shape(encoder: TextEncoder, prompt: str) -> None:
    tokens, pooled = encoder([prompt])
    assert tokens.shape == (1, 16, 32)
    assert pooled.shape == (1, 24)
    assert tokens.isfinite().all()
    torch.testing.assert_close(pooled.square().mean(), torch.tensor(1.0))


def test_learnt_words_are_single_tokens(encoder: TextEncoder) -> None:
    assert encoder.count_tokens("a red sunset") < encoder.count_tokens("q zxw vjkqpy")


def test_long_prompts_are_cut_and_counted(encoder: TextEncoder) -> None:
    long = "sky " * 2500
    assert encoder.count_tokens(long) > encoder.max_tokens == 16
    torch.testing.assert_close(encoder([long]), encoder([long + "night"]))


def test_a_prompt_is_embedded_alone_as_in_company(encoder: TextEncoder) -> None:
    prompts = ["", "a red sunset", "clouds " * 40]
    together = encoder(prompts)
    for index, prompt in enumerate(prompts):
        torch.testing.assert_close(encoder([prompt]), tuple(part[[index]] for part in together), atol=1e-5, rtol=1e-5)


def test_pooled_embeddings_need_no_padding(encoder: TextEncoder) -> None:
    prompts = ["", "a red sunset", "night sky"]
    torch.testing.assert_close(encoder.pooled(prompts), encoder(prompts)[1], atol=1e-5, rtol=1e-5)


def test_prompts_differ(encoder: TextEncoder) -> None:
    _, pooled = encoder(["", *CAPTIONS])
    assert torch.pdist(pooled).min() > 1e-3


def test_same_seed_same_encoder() -> None:
    first, second = (new_text_encoder(CAPTIONS, SMALL, seed=5) for _ in range(2))
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_was_embedded_before_is_not_in_the_files(encoder: TextEncoder, tmp_path: Path) -> None:
    for folder, embed in (("one", encoder), ("other", encoder.pooled)):
        embed(CAPTIONS)
        encoder.save(tmp_path / folder)
    one, other = (hash_files(tmp_path / folder, ("text_encoder", "tokenizer")) for folder in ("one", "other"))
    assert one == other


def test_saved_and_loaded_is_the_same(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    loaded = load_text_encoder(tmp_path / "text_encoder", tmp_path / "tokenizer")
    for prompt in [*CAPTIONS, *ODD_PROMPTS]:
        assert loaded.tokenizer(prompt).input_ids == encoder.tokenizer(prompt).input_ids
        torch.testing.assert_close(loaded([prompt]), encoder([prompt]), atol=0, rtol=0)


def test_plain_transformers_reads_it(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    clip = CLIPTextModelWithProjection.from_pretrained(tmp_path / "text_encoder", dtype="float32")
    tokenizer = CLIPTokenizerFast.from_pretrained(tmp_path / "tokenizer")
    ids = tokenizer("A red  sunset", padding="max_length", truncation=True, return_tensors="pt").input_ids
    output = clip(input_ids=ids)
    tokens, pooled = encoder(["a red sunset"])
    torch.testing.assert_close(output.last_hidden_state, tokens)
    torch.testing.assert_close(torch.nn.functional.normalize(output.text_embeds) * 24**0.5, pooled)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "layers.1" in name))
    save_file(tensors, path, {"format": "pt"})


def halve_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("fc1.weight"))
    save_file(tensors | {name: tensors[name][::2].contiguous()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("text_encoder/model.safetensors", Path.unlink),
        ("text_encoder/model.safetensors", truncate),
        ("text_encoder/model.safetensors", drop_a_tensor),
        ("text_encoder/model.safetensors", halve_a_tensor),
        ("text_encoder/config.json", Path.unlink),
        ("text_encoder/config.json", truncate),
        ("tokenizer", shutil.rmtree),
        ("tokenizer/tokenizer.json", Path.unlink),
        ("tokenizer/tokenizer.json", truncate),
    ],
)
def test_damage_is_named_in_one_line(
    encoder: TextEncoder, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    encoder.save(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(SoraditError) as error:
        load_text_encoder(tmp_path / "text_encoder", tmp_path / "tokenizer")
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pickle_is_not_opened(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    (tmp_path / "text_encoder/model.safetensors").unlink()
    torch.save(encoder.clip.state_dict(), tmp_path / "text_encoder/pytorch_model.bin")
    with pytest.raises(SoraditError):
        load_text_encoder(tmp_path / "text_encoder", tmp_path / "tokenizer")


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(SoraditError, match="nobody/no-such-clip"):
        load_text_encoder("nobody/no-such-clip", "nobody/no-such-clip")
