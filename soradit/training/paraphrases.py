"""Further words for a text encoder that a transformer was trained with: paraphrases of what it knows. Step 5.

A frozen copy of the encoder is the teacher. What captions are embedded as stays, and a paraphrase is to be embedded as
what it means: Reimers & Gurevych 2020 (arXiv 2004.09813), equation 1, with other words instead of other languages. So
the transformer understands them without having to learn anew.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from soradit.errors import SoraditError
from soradit.model.text import TextEncoder
from soradit.model.weights import save_text, write_index
from soradit.training.randomness import draw_indices, generator

MAX_HELD_OUT = 256
"""Captions that are held out anyway, and texts of paraphrases, at most a tenth of those."""


@dataclass(frozen=True, kw_only=True)
class Paraphrase:
    """A text, and one that means the same in words that the encoder knows."""

    text: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Captions that are to be embedded as they were, and paraphrases."""

    captions: Sequence[str]
    paraphrases: Sequence[Paraphrase]


def read_paraphrases(path: Path) -> list[Paraphrase]:
    """One a line, text and meaning with a tab between them; a text may have several meanings, one a line.

    Raises SoraditError for a file that can't be read so.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SoraditError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        bad = error.object[: error.start].count(b"\n") + 1
        raise SoraditError(f"{path}: line {bad} is not UTF-8: save it as UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, start=1):
        text, _, meaning = (part.strip() for part in line.partition("\t"))
        if line.strip() and not (text and meaning and "\t" not in meaning):
            raise SoraditError(f"{path}: line {number} is no text, tab and meaning: {line[:60]!r}")
        if text:
            found.append(Paraphrase(text=text, meaning=meaning))
    if not found:
        raise SoraditError(f"{path}: is empty; give a text, a tab and what it means on each line")
    return found


class ParaphraseObjective:
    """Embeds paraphrases as what they mean, and captions as before."""

    def __init__(
        self,
        model: TextEncoder,
        *,
        teacher: TextEncoder,
        captions: Sequence[str],
        held_out: Sequence[str],
        paraphrases: Sequence[Paraphrase],
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """``teacher`` is the encoder as it was before it learnt further words, frozen.

        ``batch_size`` captions make a step, and as many paraphrases; and the empty prompt, which guidance uses.
        """
        self.teacher = teacher.to(device)
        self.model = model.to(device).requires_grad_(True)
        self.captions, self.held_out_captions = captions, held_out[:MAX_HELD_OUT]
        order = torch.randperm(len(paraphrases), generator=generator(0, "held-out")).tolist()
        texts = list(dict.fromkeys(paraphrases[i].text for i in order))
        held_out_texts = set(texts[: min(MAX_HELD_OUT, len(texts) // 10)])
        self.paraphrases = [each for each in paraphrases if each.text not in held_out_texts]
        self.held_out_paraphrases = [each for each in paraphrases if each.text in held_out_texts]
        self.batch_size, self.seed = batch_size, seed

    @property
    def network(self) -> TextEncoder:
        return self.model

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        captions, paraphrases = (
            draw_indices(self.seed, step, self.batch_size, len(kind))[part]
            for kind in (self.captions, self.paraphrases)
        )
        return Batch(
            captions=["", *(self.captions[index] for index in captions)],
            paraphrases=[self.paraphrases[index] for index in paraphrases],
        )

    def examples(self, step: int) -> list[str]:
        batch = self.batch(step)
        return [*batch.captions[1:], *(each.text for each in batch.paraphrases)]

    def loss(self, batch: Batch, step: int) -> Tensor:
        return self._of_captions(batch.captions) + self._of_paraphrases(batch.paraphrases)

    def evaluate(self, poll: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Mean squared errors, of a variance of about one: how far captions moved, and paraphrases still are apart."""

        def mean_of(error: Callable[[Sequence], Tensor], examples: Sequence) -> float:
            total = 0.0
            for first in range(0, len(examples), self.batch_size):
                poll()
                few = examples[first : first + self.batch_size]
                total += len(few) * error(few).item()
            return total / max(1, len(examples))

        moved = mean_of(self._of_captions, self.held_out_captions)
        apart = mean_of(self._of_paraphrases, self.held_out_paraphrases)
        return {"held_out_loss": moved + apart, "held_out_moved": moved, "held_out_apart": apart}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        published = deepcopy(self.model)
        published.load_state_dict(tensors)
        save_text(run, published)
        write_index(run)

    def _of_captions(self, captions: Sequence[str]) -> Float[Tensor, ""]:
        everywhere = torch.ones(len(captions), self.model.max_tokens, dtype=torch.bool)
        return self._error(captions, captions, everywhere)

    def _of_paraphrases(self, paraphrases: Sequence[Paraphrase]) -> Float[Tensor, ""]:
        """Where both texts are over: only there all of them has been seen, by a causal encoder."""
        texts, meanings = [each.text for each in paraphrases], [each.meaning for each in paraphrases]
        return self._error(texts, meanings, self._ended(texts) & self._ended(meanings))

    def _ended(self, texts: Sequence[str]) -> Bool[Tensor, "b words"]:
        """From the end token on."""
        last = self.model.max_tokens - 1
        ends = torch.tensor([min(self.model.count_tokens(text) - 1, last) for text in texts])
        return torch.arange(self.model.max_tokens) >= ends[:, None]

    def _error(
        self, texts: Sequence[str], meanings: Sequence[str], where: Bool[Tensor, "b words"]
    ) -> Float[Tensor, ""]:
        """How far pooled embeddings are from those meant, and tokens' from theirs where they count."""
        with torch.no_grad():
            tokens_wanted, pooled_wanted = self.teacher(meanings)
        tokens, pooled = self.model(texts)
        where = where.to(tokens.device)
        of_tokens = ((tokens - tokens_wanted).square().mean(-1) * where).sum(-1) / where.sum(-1)
        return (pooled - pooled_wanted).square().mean() + of_tokens.mean()
