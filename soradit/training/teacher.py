"""A teacher of what words mean: a sentence-embedding network, and everyday sentences to be taught with. Step 5.

Captions use few words. So that a prompt in other words ("gloaming") lands near the captions that mean the same
("dusk"), the text encoder learns to find near each everyday sentence what the teacher finds near it: Fang et al. 2021
(SEED, arXiv 2101.04731), equation 4, among the sentences and captions of a batch.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from soradit.errors import SoraditError, first_line
from soradit.files import write_whole
from soradit.report import Report

TEMPERATURE = 0.05
"""Divides cosines: what is less alike than the nearest by several times this counts for nothing."""
SENTENCES_PER_STEP = 128
_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """Everyday sentences, and the teacher's embeddings, of unit length, of them and of all captions."""

    sentences: Sequence[str]
    embeddings: dict[str, Float[Tensor, " d"]]

    def similarity(self, sentences: Sequence[str], others: Sequence[str]) -> Float[Tensor, "sentences others"]:
        """Cosines, as the teacher sees them."""
        rows, columns = (torch.stack([self.embeddings[text] for text in texts]) for texts in (sentences, others))
        return rows @ columns.T


def prepare_lessons(teacher: str, sentences: Path, captions: Sequence[str], report: Report, *, kept: Path) -> Lessons:
    """Let the teacher, a folder or hub name, embed all sentences (one a line of the file) and captions once.

    The embeddings are ``kept`` in a file, so that a run that is resumed need not wait for them again.

    Raises SoraditError for a file or a network that can't be used.
    """
    try:
        lines = sentences.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SoraditError(f"{sentences}: can't be read as sentences, one a line: {first_line(error)}") from error
    everyday = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(everyday) < SENTENCES_PER_STEP:
        raise SoraditError(f"{sentences}: has {len(everyday)} sentences: give {SENTENCES_PER_STEP} or more")
    texts = list(dict.fromkeys([*everyday, *captions]))
    embedded = _embed_once(teacher, texts, report, kept)
    return Lessons(sentences=everyday, embeddings=dict(zip(texts, embedded, strict=True)))


def _embed_once(teacher: str, texts: list[str], report: Report, kept: Path) -> Float[Tensor, "texts d"]:
    key = hashlib.sha256("\0".join((teacher, *texts)).encode()).hexdigest()
    with suppress(OSError, SafetensorError, KeyError):
        return load_file(kept)[key]
    embedded = _embed(teacher, texts, report)
    write_whole(kept, save({key: embedded}))
    return embedded


@torch.inference_mode()
def _embed(teacher: str, texts: list[str], report: Report) -> Float[Tensor, "texts d"]:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(teacher)
        model = AutoModel.from_pretrained(teacher, use_safetensors=True).eval()
        _means(tokenizer, model, texts[:1])  # not all that can be loaded can do that
    except Exception as error:  # transformers, safetensors and the hub raise a dozen kinds
        raise SoraditError(f"--teacher {teacher} can't be loaded as a text network: {first_line(error)}") from error
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # so that little is padding
    embedded: dict[int, Tensor] = {}
    with report.progress("asking the teacher", len(texts)) as progress:
        for first in range(0, len(texts), _AT_ONCE):
            few = by_length[first : first + _AT_ONCE]
            embedded |= zip(few, _means(tokenizer, model, [texts[i] for i in few]), strict=True)
            progress.update(len(embedded))
    return torch.stack([embedded[i] for i in range(len(texts))])


def _means(tokenizer: Any, model: Any, texts: list[str]) -> Float[Tensor, "texts d"]:
    """Over tokens, of unit length: Reimers & Gurevych 2019 (Sentence-BERT, arXiv 1908.10084), section 3."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    mask = tokens.attention_mask[..., None]
    return F.normalize((model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1), dim=-1)


def distillation_loss(
    student: Float[Tensor, "sentences others"], teacher: Float[Tensor, "sentences others"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the student's nearness, a softmax over cosines, under the teacher's; nothing is near itself."""
    itself = torch.eye(*student.shape, dtype=torch.bool, device=student.device)
    student, teacher = ((x / TEMPERATURE).masked_fill(itself, -1e4) for x in (student, teacher))
    return F.cross_entropy(student, teacher.softmax(-1))
