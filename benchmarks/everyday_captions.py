"""Give clips everyday prompts as further captions: each to clips that have captions of its meaning.

    python benchmarks/everyday_captions.py CLIPS everyday.txt --teacher MINILM --weights WEIGHTS

A transformer that has seen captions alone guesses at what lies between their embeddings. What a prompt says of hour,
cover and drift is voted by the captions nearest to it, once by a teacher's embeddings and once by a text encoder's.
Where the two agree, it goes to clips of those captions; where they don't, to none. Prompts that name a side are left
out, as a teacher of everyday English has left and right for the same, and so are those that soradit evaluate asks for.
CLIPS/metadata.jsonl is written anew; ``soradit skies`` takes the further captions out again.
"""

import argparse
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from soradit.console import Terminal
from soradit.evaluation.facts import facts_of
from soradit.files import write_whole
from soradit.media.mirror import mirror_caption
from soradit.model.text import TextEncoder
from soradit.model.weights import load_text
from soradit.training.teacher import Lessons, prepare_lessons

NEAR = 0.6
"""Cosine of the teacher's from which a prompt is of skies."""
NEIGHBOURS = 30
TEMPERATURE = 0.02
AGREED = 0.7
"""Share of both votes, their geometric mean, from which a prompt is taken to say what they say."""
_AT_ONCE = 64

Likeness = Float[Tensor, "prompts captions"]
"""Cosines of embeddings."""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--per-clip", type=int, default=2, help="further captions a clip has, at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    metadata = arguments.clips / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text(encoding="utf-8").splitlines()]
    captions = list(dict.fromkeys(caption for row in rows for caption in row["text"]))
    prompts = usable(lines_of(arguments.prompts))
    lessons = ask_teacher(arguments.teacher, prompts, captions)
    prompts, likeness = understood(prompts, captions, lessons, load_text(arguments.weights))
    random = torch.Generator().manual_seed(arguments.seed)
    given = deal_out(prompts, captions, likeness, rows, per_clip=arguments.per_clip, random=random)
    for row, more in zip(rows, given, strict=True):
        row["text"] += more
    write_whole(metadata, "".join(json.dumps(row) + "\n" for row in rows))
    print(f"{sum(map(len, given))} captions of {len(prompts)} prompts for {sum(map(bool, given))} clips")


def understood(
    prompts: list[str], captions: list[str], lessons: Lessons, encoder: TextEncoder
) -> tuple[list[str], Likeness]:
    """Prompts of skies that teacher and encoder take for the same, and how like captions of that meaning are.

    Captions of another meaning have a likeness of minus infinity.
    """
    taught = lessons.similarity(prompts, captions)
    of_skies = (taught.amax(1) >= NEAR).nonzero().flatten().tolist()
    prompts, taught = [prompts[i] for i in of_skies], taught[of_skies]
    encoded = pooled(encoder, prompts) @ pooled(encoder, captions).T
    likeness = (taught + encoded).masked_fill(~meant(taught, encoded, captions, agreed=AGREED), -math.inf)
    kept = likeness.isfinite().any(1).nonzero().flatten().tolist()
    return [prompts[i] for i in kept], likeness[kept]


def deal_out(
    prompts: list[str],
    captions: list[str],
    likeness: Likeness,
    rows: list[dict],
    *,
    per_clip: int,
    random: torch.Generator,
) -> list[list[str]]:
    """Prompts for each row of metadata, ``per_clip`` at most; in each round every prompt goes to a clip at most."""
    clips_of: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for caption in row["text"]:
            clips_of.setdefault(caption, []).append(index)
    given: list[list[str]] = [[] for _ in rows]
    nearest, which = likeness.topk(NEIGHBOURS)
    chances = (nearest / TEMPERATURE).softmax(-1)
    for _ in range(math.ceil(per_clip * len(rows) / max(1, len(prompts)))):
        drawn = which.gather(1, torch.multinomial(chances, 1, generator=random)).flatten().tolist()
        for i in torch.randperm(len(prompts), generator=random).tolist():
            owners = clips_of[captions[drawn[i]]]
            clip = owners[int(torch.randint(len(owners), (), generator=random))]
            if len(given[clip]) < per_clip and prompts[i] not in (*given[clip], *rows[clip]["text"]):
                given[clip].append(prompts[i])
    return given


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """For clips, prompts, a teacher and weights."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    return parser


def lines_of(path: Path) -> list[str]:
    return list(dict.fromkeys(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines()))))


def ask_teacher(teacher: str, prompts: Sequence[str], captions: list[str]) -> Lessons:
    """Prompts and captions as the teacher embeds them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.txt"
        path.write_text("\n".join(prompts), encoding="utf-8")
        return prepare_lessons(teacher, path, captions, Terminal(), kept=path.with_suffix(".safetensors"))


def usable(prompts: Sequence[str]) -> list[str]:
    """Those that name no side, and are none of evaluate's."""
    asked = evaluates_own()
    return [prompt for prompt in prompts if prompt not in asked and mirror_caption(prompt) == prompt]


def evaluates_own() -> set[str]:
    """What soradit evaluate asks for in synonyms."""
    return set(files("soradit.evaluation").joinpath("synonyms.txt").read_text(encoding="utf-8").splitlines())


def meant(
    taught: Likeness, encoded: Likeness, captions: list[str], *, agreed: float
) -> Bool[Tensor, "prompts captions"]:
    """Which captions say what a prompt says: none, where the two likenesses take it to say different things."""
    fits = torch.ones(taught.shape, dtype=torch.bool)
    for fact in ("hour", "cover", "drift"):
        _, of_value = stated_by(captions, fact)
        share, value = (votes(taught, of_value) * votes(encoded, of_value)).sqrt().max(1)
        same = of_value.T[value].bool() | (value == 0)[:, None]
        fits &= same & (share >= agreed)[:, None]
    return fits


def stated_by(captions: list[str], fact: str) -> tuple[list[str | None], Float[Tensor, "captions values"]]:
    """What captions say of a fact, as 0 and 1: the first value is None, for those that leave it open."""
    said = [getattr(facts_of(caption), fact) for caption in captions]
    values = list(dict.fromkeys([None, *said]))
    return values, F.one_hot(torch.tensor([values.index(value) for value in said]), len(values)).float()


def votes(likeness: Likeness, of_value: Float[Tensor, "captions values"]) -> Float[Tensor, "prompts values"]:
    """Shares of the values that a fact has in the nearest captions."""
    nearest, which = likeness.topk(NEIGHBOURS)
    return ((nearest / TEMPERATURE).softmax(-1)[..., None] * of_value[which]).sum(1)


@torch.inference_mode()
def pooled(encoder: TextEncoder, texts: list[str]) -> Float[Tensor, "texts pooled"]:
    """Of unit length."""
    few = (encoder.pooled(texts[first : first + _AT_ONCE]) for first in range(0, len(texts), _AT_ONCE))
    return F.normalize(torch.cat(list(few)), dim=-1)


if __name__ == "__main__":
    main()
