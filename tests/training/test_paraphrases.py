"""Further words for a text encoder that a transformer was trained with."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.model.text import TextEncoder, TextEncoderConfig, new_text_encoder
from soradit.training.paraphrases import Paraphrase, ParaphraseObjective, read_paraphrases

CAPTIONS = ["a night sky", "a sunny day", "clouds at dusk", "stars above the sea"]
PARAPHRASES = [
    Paraphrase(text="the small hours", meaning="a night sky"),
    Paraphrase(text="gloaming, and clouds", meaning="clouds at dusk"),
]


def encoder() -> TextEncoder:
    texts = [*CAPTIONS, *(each.text for each in PARAPHRASES)]
    sizes = TextEncoderConfig(vocab_size=600, max_tokens=16, width=32, depth=1, heads=2, pooled_dim=16)
    torch.manual_seed(0)
    return new_text_encoder(texts, sizes, seed=0)


def objective(model: TextEncoder, paraphrases: list[Paraphrase] = PARAPHRASES) -> ParaphraseObjective:
    return ParaphraseObjective(
        model,
        teacher=deepcopy(model),
        captions=CAPTIONS,
        held_out=CAPTIONS,
        paraphrases=paraphrases,
        batch_size=2,
        seed=0,
        device=torch.device("cpu"),
    )


def test_paraphrases_are_learnt_and_captions_stay() -> None:
    model = encoder()
    before, learner = deepcopy(model), objective(model)
    at_first = learner.loss(learner.batch(0), 0).item()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(150):
        optimizer.zero_grad()
        loss = learner.loss(learner.batch(step), step)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * at_first
    with torch.no_grad():
        wanted = before.pooled(["", *CAPTIONS])
        torch.testing.assert_close(model.pooled(["", *CAPTIONS]), wanted, atol=0.3, rtol=0)
        for each in PARAPHRASES:
            distances = (model.pooled([each.text]) - wanted[1:]).square().sum(-1)
            assert CAPTIONS[int(distances.argmin())] == each.meaning


def test_what_means_itself_is_no_error() -> None:
    learner = objective(encoder(), [Paraphrase(text=caption, meaning=caption) for caption in CAPTIONS])
    assert learner.loss(learner.batch(0), 0).item() == pytest.approx(0, abs=1e-9)
    assert learner.evaluate()["held_out_loss"] == pytest.approx(0, abs=1e-9)


def test_tokens_count_from_where_both_texts_are_over() -> None:
    learner = objective(encoder())
    short, long = learner._ended(["day", "a sunny day"])
    ends = [learner.model.count_tokens(text) - 1 for text in ("day", "a sunny day")]
    assert short.int().argmax() == ends[0] < ends[1] == long.int().argmax()
    assert learner._ended([" ".join(["cloud"] * 40)]).sum() == 1  # cut: its last token alone


def test_the_empty_prompt_is_in_every_batch() -> None:
    learner = objective(encoder())
    assert all("" in learner.batch(step).captions for step in range(5))


def test_held_out_paraphrases_are_never_trained_on() -> None:
    many = [Paraphrase(text=f"text {i // 2}", meaning=CAPTIONS[i % 4]) for i in range(80)]
    learner = objective(encoder(), many)
    held_out = {each.text for each in learner.held_out_paraphrases}
    assert len(held_out) == 4
    assert not held_out & {each.text for each in learner.paraphrases}
    assert len(learner.paraphrases) + len(learner.held_out_paraphrases) == 80


def test_a_file_has_a_text_and_a_meaning_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "paraphrases.tsv"
    path.write_text("the small hours\ta night sky\n\n gloaming, and clouds \t clouds at dusk\n", encoding="utf-8")
    assert read_paraphrases(path) == PARAPHRASES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gloaming\tdusk\nno tab here\n", "line 2 is no text, tab and meaning: 'no tab here'"),
        ("gloaming\t\n", "line 1 is no text"),
        ("\n", "is empty"),
        (b"a\tb\n\xff\xfe", "line 2 is not UTF-8: save it as UTF-8 text"),
        ("a\tb\tc\n", "line 1 is no text, tab and meaning"),
    ],
)
def test_a_file_of_something_else_is_refused(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "paraphrases.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SoraditError, match=message):
        read_paraphrases(path)
    with pytest.raises(SoraditError, match=r"none\.tsv: can't be read: No such file or directory"):
        read_paraphrases(tmp_path / "none.tsv")
