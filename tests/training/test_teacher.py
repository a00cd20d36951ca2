"""A teacher of what words mean: everyday sentences land where the teacher has them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from soradit.errors import SoraditError
from soradit.report import Report
from soradit.training.teacher import SENTENCES_PER_STEP, distillation_loss, prepare_lessons

WORDS = [f"word{i}" for i in range(SENTENCES_PER_STEP)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "sky", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return str(folder)


def sentences(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_sentences_and_captions_are_embedded_once_each_whatever_stands_beside_them(
    teacher: str, tmp_path: Path
) -> None:
    path = sentences(tmp_path, [*WORDS, "", WORDS[0], f"a {WORDS[3]} {WORDS[4]} {WORDS[5]}"])
    lessons = prepare_lessons(teacher, path, ["a sky", "a sky"], Report(), kept=tmp_path / "kept")
    assert lessons.sentences[: len(WORDS)] == WORDS
    assert len(lessons.sentences) == len(WORDS) + 1
    assert set(lessons.embeddings) == {*lessons.sentences, "a sky"}
    similarity = lessons.similarity(WORDS[:2], [*WORDS[:2], "a sky"])
    assert similarity.shape == (2, 3)
    torch.testing.assert_close(similarity[:, :2].diagonal(), torch.ones(2))
    without = prepare_lessons(teacher, sentences(tmp_path, WORDS), ["a sky"], Report(), kept=tmp_path / "other")
    torch.testing.assert_close(without.similarity(WORDS[:2], ["a sky"]), similarity[:, 2:])


def test_what_was_embedded_is_kept_and_a_damaged_file_is_made_anew(teacher: str, tmp_path: Path) -> None:
    path, kept = sentences(tmp_path, WORDS), tmp_path / "kept"
    first = prepare_lessons(teacher, path, ["a sky"], Report(), kept=kept)
    written = kept.read_bytes()
    again = prepare_lessons(teacher, path, ["a sky"], Report(), kept=kept)
    assert all(torch.equal(first.embeddings[text], again.embeddings[text]) for text in first.embeddings)
    prepare_lessons(teacher, path, ["another sky"], Report(), kept=kept)
    assert kept.read_bytes() != written
    kept.write_bytes(written[:100])
    prepare_lessons(teacher, path, ["a sky"], Report(), kept=kept)
    assert kept.read_bytes() == written


def test_too_few_sentences_and_a_missing_teacher_are_told(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(SoraditError, match="has 1 sentences"):
        prepare_lessons(teacher, sentences(tmp_path, ["one"]), [], Report(), kept=tmp_path / "kept")
    with pytest.raises(SoraditError, match=r"nothing\.txt: can't be read"):
        prepare_lessons(teacher, tmp_path / "nothing.txt", [], Report(), kept=tmp_path / "kept")
    with pytest.raises(SoraditError, match=r"--teacher .*nowhere can't be loaded"):
        prepare_lessons(str(tmp_path / "nowhere"), sentences(tmp_path, WORDS), [], Report(), kept=tmp_path / "kept")


def test_a_network_that_gives_no_embeddings_is_told(teacher: str, tmp_path: Path) -> None:
    """As GPT-2, whose tokenizer can't pad."""
    tokenizer = BertTokenizerFast.from_pretrained(teacher)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    BertModel.from_pretrained(teacher).save_pretrained(tmp_path)
    with pytest.raises(SoraditError, match=r"--teacher .* can't be loaded as a text network: .*pad"):
        prepare_lessons(str(tmp_path), sentences(tmp_path, WORDS), [], Report(), kept=tmp_path / "kept")


def test_the_loss_is_least_where_the_student_agrees_and_leaves_itself_out() -> None:
    torch.manual_seed(0)
    teacher = torch.rand(4, 6)
    agreed = distillation_loss(teacher, teacher)
    for other in (torch.rand(4, 6), torch.zeros(4, 6), -teacher):
        assert distillation_loss(other, teacher) > agreed
    itself = teacher.clone()
    itself[range(4), range(4)] = 100.0
    torch.testing.assert_close(distillation_loss(itself, teacher), agreed)


def test_a_student_learns_the_teacher_s_neighbours() -> None:
    torch.manual_seed(0)
    teacher = torch.nn.functional.normalize(torch.randn(12, 8), dim=-1)
    student = torch.randn(12, 8, requires_grad=True)
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(200):
        unit = torch.nn.functional.normalize(student, dim=-1)
        loss = distillation_loss(unit @ unit.T, teacher @ teacher.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nearest = [(x @ x.T - 9 * torch.eye(12)).argmax(-1) for x in (unit.detach(), teacher)]
    assert (nearest[0] == nearest[1]).float().mean() > 0.9
