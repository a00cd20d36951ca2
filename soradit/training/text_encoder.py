"""What the text encoder is trained on: to tell which caption belongs to which clip. Step 5.

Radford et al. 2021 (CLIP, arXiv 2103.00020), figure 3: two towers, one for captions and one for clips, and a
symmetric cross-entropy over all pairs of a batch. The video tower sees cached latents, and is thrown away.
Where clips have several captions, those of one clip are told from others' in the same way: Gao et al. 2021 (SimCSE,
arXiv 2104.08821), equation 5 without its hard negatives. That is how words are learnt which stand for a fine thing in
the video, such as left and right. A teacher may add what words mean that no caption uses (see
``soradit.training.teacher``).
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soradit.device import pinned
from soradit.errors import SoraditError
from soradit.model.dit import FRAME_HARMONICS, place_in_frame
from soradit.model.text import TextEncoder
from soradit.model.weights import save_text, write_index
from soradit.training.cache import Segment
from soradit.training.randomness import draw_indices, generator
from soradit.training.teacher import SENTENCES_PER_STEP, Lessons, distillation_loss

MAX_HELD_OUT = 100
INITIAL_TEMPERATURE = 0.07
MIN_TEMPERATURE = 0.01
WORDINGS_PER_STEP = 128
"""Clips of which two captions are told from those of the others."""
WORDING_TEMPERATURE = 0.05


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Clips and a caption of each, on the CPU."""

    latents: Float[Tensor, "b t h w latent"]
    captions: Sequence[str]
    alike: Bool[Tensor, "b b"]
    """Different ones of which either's caption says what is in the other."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pairs, two wordings each of what is in other clips, and, with a teacher, everyday sentences."""

    pairs: Pairs
    wordings: tuple[Sequence[str], Sequence[str]] = ((), ())
    sentences: Sequence[str] = ()


class VideoTower(nn.Module):
    """Latents -> one embedding: a small transformer over all spacetime tokens, averaged."""

    def __init__(self, *, latent_channels: int, length: int, width: int, depth: int, heads: int, out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(latent_channels + 4 * FRAME_HARMONICS, width)
        self.time = nn.Parameter(0.02 * torch.randn(length, 1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.out = nn.Linear(width, out)

    def forward(self, latents: Float[Tensor, "b t h w latent"]) -> Float[Tensor, "b out"]:
        batch, *grid, _ = latents.shape
        place = place_in_frame(*grid, device=latents.device).expand(batch, -1, -1, -1, -1)
        x = self.embed(torch.cat([latents, place], dim=-1)) + self.time
        return self.out(self.layers(rearrange(x, "b t h w c -> b (t h w) c")).mean(1))


class TwoTowers(nn.Module):
    """A text encoder and a video tower into one space, and the temperature of their comparison."""

    def __init__(self, text: TextEncoder, *, latent_channels: int, length: int) -> None:
        super().__init__()
        self.text = text.requires_grad_(True)
        width = text.pooled_dim
        heads = max(1, width // 64)
        self.video = VideoTower(
            latent_channels=latent_channels, length=length, width=width, depth=2, heads=heads, out=width
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(INITIAL_TEMPERATURE)))

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "texts out"]:
        """Embeddings of unit length."""
        return F.normalize(self.text.pooled(texts), dim=-1)

    def compare(
        self, captions: Float[Tensor, "captions out"], latents: Float[Tensor, "b t h w latent"]
    ) -> Float[Tensor, "captions b"]:
        temperature = self.log_temperature.exp().clamp_min(MIN_TEMPERATURE)
        return captions @ F.normalize(self.video(latents), dim=-1).T / temperature


class TextEncoderObjective:
    """Tells which of a batch's captions belongs to which of its clips.

    ``length`` is in latent frames, each of ``token_frames`` frames of video.
    """

    def __init__(
        self,
        model: TwoTowers,
        *,
        training: list[Segment],
        held_out: list[Segment],
        length: int,
        token_frames: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        lessons: Lessons | None = None,
    ) -> None:
        self.model = model.to(device)
        self.lessons = lessons
        self.training = [segment for segment in training if segment.length >= length]
        self.held_out = [segment for segment in held_out if segment.length >= length][:MAX_HELD_OUT]
        captions = dict.fromkeys(segment.clip.captions for segment in self.training)
        self.reworded = [wordings for wordings in captions if len(wordings) > 1]
        if not self.training or not self.held_out:
            longest = max((segment.length for segment in [*training, *held_out]), default=0)
            wanted, longest = token_frames * length, token_frames * longest
            raise SoraditError(f"clips of {wanted} frames are needed, and some held out (the longest has {longest})")
        self.length, self.batch_size, self.seed, self.device = length, batch_size, seed, device

    @property
    def network(self) -> TwoTowers:
        return self.model

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        indices = draw_indices(self.seed, step, self.batch_size, len(self.training))[part]
        pairs = self._pairs([self.training[index] for index in indices], generator(self.seed, step, "window"))
        return Batch(pairs=pairs, wordings=self._wordings(step), sentences=self._sentences(step))

    def _wordings(self, step: int) -> tuple[list[str], list[str]]:
        """Two captions each of some clips, in the same order."""
        if len(self.reworded) < 2:
            return [], []
        chosen = draw_indices(self.seed, step, min(WORDINGS_PER_STEP, len(self.reworded)), len(self.reworded))
        random = generator(self.seed, step, "wordings")
        clips = [self.reworded[index] for index in chosen]
        one, other = zip(*([c[i] for i in torch.randperm(len(c), generator=random)[:2]] for c in clips), strict=True)
        return list(one), list(other)

    def _sentences(self, step: int) -> list[str]:
        if self.lessons is None:
            return []
        everyday = self.lessons.sentences
        return [everyday[index] for index in draw_indices(self.seed, step, SENTENCES_PER_STEP, len(everyday))]

    def examples(self, step: int) -> list[str]:
        indices = draw_indices(self.seed, step, self.batch_size, len(self.training))
        return [str(self.training[index].clip) for index in indices]

    def loss(self, batch: Batch, step: int) -> Tensor:
        one, other = batch.wordings
        captions, *wordings = self.model.embed([*batch.pairs.captions, *one, *other]).split(
            [len(batch.pairs.captions), len(one), len(other)]
        )
        logits = self.model.compare(captions, batch.pairs.latents.to(self.device, non_blocking=True))
        loss = contrastive_loss(_apart(logits, batch.pairs.alike))
        if one:
            loss = loss + contrastive_loss(wordings[0] @ wordings[1].T / WORDING_TEMPERATURE)
        if self.lessons is not None:
            sentences = self.model.embed(batch.sentences)
            taught = self.lessons.similarity(batch.sentences, [*batch.sentences, *batch.pairs.captions])
            loss = loss + distillation_loss(sentences @ torch.cat([sentences, captions]).T, taught.to(self.device))
        return loss

    def evaluate(self, poll: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Loss, and how often the right caption is first, or among the first five, of the held-out captions.

        A clip's longest caption is taken, which tells it best from the others.
        """
        pairs = self._pairs(self.held_out, generator(0, "held-out"), longest=True)
        logits = self.model.compare(self.model.embed(pairs.captions), pairs.latents.to(self.device))
        logits = _apart(logits, pairs.alike)
        rank = (logits > logits.diagonal()).sum(0)  # captions that a clip likes better than its own
        return {
            "held_out_loss": contrastive_loss(logits).item(),
            "held_out_top1": (rank < 1).float().mean().item(),
            "held_out_top5": (rank < 5).float().mean().item(),
        }

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        published = deepcopy(self.model)
        published.load_state_dict(tensors)
        save_text(run, published.text)
        write_index(run)

    def _pairs(self, segments: list[Segment], random: torch.Generator, *, longest: bool = False) -> Pairs:
        latents, captions = [], []
        for segment in segments:
            start = int(torch.randint(segment.length - self.length + 1, (), generator=random))
            latents.append(segment.window(start, self.length))
            wordings = segment.clip.captions
            choice = int(torch.randint(len(wordings), (), generator=random))
            captions.append(max(wordings, key=len) if longest else wordings[choice])
        return Pairs(
            latents=pinned(torch.stack(latents), self.device),
            captions=captions,
            alike=pinned(_alike([segment.clip.captions for segment in segments]), self.device),
        )


def _alike(captions: list[tuple[str, ...]]) -> Bool[Tensor, "b b"]:
    same = torch.tensor([[one == other for other in captions] for one in captions])
    return same & ~torch.eye(len(captions), dtype=torch.bool)


def _apart(logits: Float[Tensor, "b b"], alike: Bool[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """What is alike can't be taken for one another."""
    return logits.masked_fill(alike.to(logits.device, non_blocking=True), -math.inf)


def contrastive_loss(logits: Float[Tensor, "captions clips"]) -> Tensor:
    """Cross-entropy of the diagonal, over clips and over captions, averaged."""
    right = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
