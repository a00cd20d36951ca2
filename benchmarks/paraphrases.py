"""Write what unusual prompts mean in words that a text encoder knows, for soradit train --paraphrases.

    python benchmarks/paraphrases.py CLIPS everyday.txt --teacher MINILM --weights WEIGHTS > paraphrases.tsv

Three kinds: captions of rendered CLIPS that say in other words where clouds go, and how fast; everyday prompts, which
mean the captions that a teacher's votes and the text encoder's agree on (see everyday_captions.py); and everyday
prompts that have nothing to do with skies, which mean what they meant.
"""

import json
import math
import re
from pathlib import Path
from random import Random

import torch
from everyday_captions import NEIGHBOURS, TEMPERATURE, ask_teacher, meant, parser_of, pooled, usable

from soradit.media.mirror import mirror_caption
from soradit.model.weights import load_text
from soradit.skies.captions import MOTION_WORDS, drift_words
from soradit.training.paraphrases import Paraphrase
from soradit.training.teacher import Lessons

NEAR, FAR = 0.6, 0.45
"""Cosine of the teacher's from which a prompt is of skies, and below which it is of something else."""
AGREED = 0.6
"""Of everyday_captions.py: less than there, since what a prompt means is averaged here."""
MEANINGS = 6
"""Of an everyday prompt, drawn among its nearest captions by likeness."""
OTHER_THINGS = 3000
"""Prompts that have nothing to do with skies, at most."""
OTHER_WAYS = {
    "left": (
        "from right to left", "from the right", "across to the left", "off to the left", "towards the left edge",
        "left in the wind", "with the wind from the right", "from the right towards the left",
        "towards the left of the picture",
    ),
    "towards": (
        "towards me", "closer", "out of the distance towards us", "closer over us", "up to us", "right at the camera",
    ),
    "away": (
        "away from the camera", "away towards the horizon", "away over the horizon", "further off",
        "back into the distance", "off to the horizon",
    ),
    "towards-left": (
        "from the right towards us", "closer from the right", "leftwards and towards the camera",
    ),
    "away-left": (
        "from the right into the distance", "leftwards towards the horizon", "away from us and leftward",
        "far away to the left",
    ),
}  # fmt: skip
OTHER_MOTIONS = {
    "slow": ("ambling", "meandering", "strolling"),
    "moderate": ("travelling", "streaming", "carried along", "heading", "going"),
    "fast": ("chased by the wind", "driven by the wind", "swept along", "carried by a strong wind", "flying"),
}


class Rewording:
    """Wordings of one thing in place of one another."""

    def __init__(self, known: dict[str, tuple[str, ...]], other: dict[str, tuple[str, ...]]) -> None:
        self.known, self.other = known, other
        self.kind_of = {wording: kind for kind, wordings in known.items() for wording in wordings}
        longest_first = sorted(self.kind_of, key=len, reverse=True)
        self.pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b")

    def reword(self, text: str, random: Random) -> tuple[str, str] | None:
        """The text in other words, and in ones that are known; None where it has none of them."""
        if not (match := self.pattern.search(text)):
            return None
        kind, before, after = self.kind_of[match[1]], text[: match.start()], text[match.end() :]
        plain = [wording for wording in self.known[kind] if not wording.startswith("from")]
        return before + random.choice(self.other[kind]) + after, before + random.choice(plain) + after


def ways() -> Rewording:
    left = {kind: drift_words(kind) for kind in OTHER_WAYS}
    right, other_right = (
        {kind.replace("left", "right"): tuple(map(mirror_caption, words)) for kind, words in each.items()}
        for each in (left, OTHER_WAYS)
    )
    return Rewording({**right, **left}, {**other_right, **OTHER_WAYS})


def of_captions(captions: list[str], random: Random) -> list[Paraphrase]:
    """Captions, and mirrored ones, with other words for where clouds go and, half of them, for how they move."""
    way, motion = ways(), Rewording(dict(MOTION_WORDS), OTHER_MOTIONS)
    found = []
    for caption in [*captions, *map(mirror_caption, captions)]:
        if reworded := way.reword(caption, random):
            text, meaning = reworded
            if random.random() < 0.5 and (moved := motion.reword(text, random)):
                text = moved[0]
            found.append(Paraphrase(text=text, meaning=meaning))
    return found


def of_everyday(prompts: list[str], captions: list[str], lessons: Lessons, weights: Path) -> list[Paraphrase]:
    """Prompts of skies and captions that mean the same; and prompts of other things, which mean themselves."""
    torch.manual_seed(0)
    taught = lessons.similarity(prompts, captions)
    nearest = taught.amax(1)
    of_other_things = [prompts[i] for i in (nearest < FAR).nonzero().flatten().tolist()][:OTHER_THINGS]
    of_skies = (nearest >= NEAR).nonzero().flatten().tolist()
    prompts, taught = [prompts[i] for i in of_skies], taught[of_skies]
    encoder = load_text(weights)
    encoded = pooled(encoder, prompts) @ pooled(encoder, captions).T
    likeness = (taught + encoded).masked_fill(~meant(taught, encoded, captions, agreed=AGREED), -math.inf)
    found = []
    for prompt, row in zip(prompts, likeness, strict=True):
        if row.isfinite().any():
            values, which = row.topk(NEIGHBOURS)
            drawn = which[torch.multinomial((values / TEMPERATURE).softmax(-1), MEANINGS, replacement=True)].tolist()
            found += [Paraphrase(text=prompt, meaning=captions[index]) for index in drawn]
    return found + [Paraphrase(text=prompt, meaning=prompt) for prompt in of_other_things]


def main() -> None:
    arguments = parser_of(__doc__).parse_args()
    lines = (arguments.clips / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    captions = list(dict.fromkeys(caption for line in lines for caption in json.loads(line)["text"]))
    lessons = ask_teacher(arguments.teacher, arguments.prompts, captions)
    everyday = of_everyday(usable(lessons.sentences), captions, lessons, arguments.weights)
    for each in [*of_captions(captions, Random(0)), *everyday]:
        print(f"{each.text}\t{each.meaning}")


if __name__ == "__main__":
    main()
