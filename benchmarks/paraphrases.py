"""Write what unusual prompts mean in words that a text encoder knows, for soradit train --paraphrases.

    python benchmarks/paraphrases.py CLIPS everyday.txt --teacher MINILM --weights WEIGHTS > paraphrases.tsv

Five kinds: captions of rendered CLIPS that say in other words where clouds go, and how fast; captions with WordNet's
synonyms for hours and clouds, where a teacher's votes say that they mean the same; wordings.tsv, prompts of skies that
others worded, with what they state, alone and beside captions that state something else; everyday prompts, which mean a
caption that the teacher's votes and the text encoder's agree on (see everyday_captions.py); and everyday prompts that
have nothing to do with skies, which mean what they meant.
"""

import itertools
import json
import math
import re
from pathlib import Path
from random import Random

import torch
from everyday_captions import (
    NEIGHBOURS,
    TEMPERATURE,
    ask_teacher,
    evaluates_own,
    lines_of,
    meant,
    parser_of,
    pooled,
    stated_by,
    usable,
    votes,
)
from jaxtyping import Bool
from torch import Tensor
from wordnet import WordNet

from soradit.evaluation.facts import Facts, facts_of
from soradit.media.mirror import mirror_caption
from soradit.model.text import TextEncoder
from soradit.model.weights import load_text
from soradit.skies.words import MOTION_WORDS, drift_words
from soradit.training.paraphrases import Paraphrase
from soradit.training.teacher import Lessons

NEAR, FAR = 0.6, 0.45
"""Cosine of the teacher's from which a prompt is of skies, and below which it is of something else."""
AGREED = 0.5
"""Of everyday_captions.py: less than there, since a prompt has one meaning here, the most central of those near it."""
USES = 5
"""Captions that state what a word of theirs states, from which it is looked up in WordNet."""
REWORDINGS = 12
"""Captions with one synonym, at most."""
WORDINGS = Path(__file__).with_name("wordings.tsv")
COMPANIES = 4
"""Captions that each of its prompts is joined to."""
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


def with_synonyms(captions: list[str], wordnet: WordNet, random: Random) -> list[list[Paraphrase]]:
    """For each word that states an hour or a cover, and each synonym of it: captions with it, and it alone."""
    phrases = dict.fromkeys(phrase for caption in captions for phrase in phrases_of(caption))
    stated = {caption: facts_of(caption) for caption in captions}
    found = []
    for word in phrases:
        by_word, pattern = facts_of(word), re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
        if not (by_word.hour or by_word.cover):
            continue
        having = [caption for caption in captions if same(stated[caption], by_word) and pattern.search(caption)]
        if len(having) < USES:
            continue
        for synonym in (other for other in wordnet.alike(word) if other not in phrases):
            drawn = random.sample(having, min(REWORDINGS, len(having)))
            reworded = [pattern.sub(synonym, caption) for caption in drawn]
            pairs = zip([synonym, *reworded], [min(having, key=len), *drawn], strict=True)
            found.append([Paraphrase(text=text, meaning=meaning) for text, meaning in pairs])
    return found


def same(stated: Facts, by_word: Facts) -> bool:
    """Whether a caption states what a word of it does: "partly cloudy" doesn't state what "cloudy" does."""
    return stated.hour == by_word.hour if by_word.hour else stated.cover == by_word.cover


def phrases_of(caption: str) -> list[str]:
    """Its words, and pairs of them."""
    words = re.findall(r"[\w'-]+", caption.lower())
    return [*words, *map(" ".join, itertools.pairwise(words))]


def understood(groups: list[list[Paraphrase]], captions: list[str], lessons: Lessons) -> list[Paraphrase]:
    """Of the groups that the teacher takes to be of the hour and the cover that their meanings state."""
    stated = {fact: stated_by(captions, fact) for fact in ("hour", "cover")}

    def agreed(group: list[Paraphrase]) -> bool:
        taught = lessons.similarity([each.text for each in group], captions)
        for fact, (values, of_value) in stated.items():
            wanted = torch.tensor([values.index(getattr(facts_of(each.meaning), fact)) for each in group])
            share = votes(taught, of_value).gather(1, wanted[:, None]).flatten()[wanted > 0]
            if len(share) and share.mean() < AGREED:
                return False
        return True

    return [each for group in groups if agreed(group) for each in group]


def read_wordings(path: Path) -> dict[str, Facts]:
    """Prompts and what they state: hour, cover, drift and the prompt a line, with tabs between and - for nothing.

    Those that name a side are also had mirrored; none is evaluate's.
    """
    stated = {}
    for line in lines_of(path):
        hour, cover, drift, prompt = (None if part == "-" else part for part in line.split("\t"))
        stated[prompt] = Facts(hour=hour, cover=cover, drift=drift)
        if drift and "left" in drift:
            stated[mirror_caption(prompt)] = Facts(hour=hour, cover=cover, drift=drift.replace("left", "right"))
    asked = {mirrored.lower() for prompt in evaluates_own() for mirrored in (prompt, mirror_caption(prompt))}
    return {prompt: facts for prompt, facts in stated.items() if prompt.lower() not in asked}


def of_wordings(
    wordings: dict[str, Facts], captions: list[str], lessons: Lessons, encoder: TextEncoder, random: Random
) -> list[Paraphrase]:
    """Prompts and what is most like them of captions, and their parts, that state the same: alone and in company."""
    parts = parts_of(captions)
    stated = list(map(facts_of, parts))
    fits = torch.tensor([[facts == wanted for facts in stated] for wanted in wordings.values()])
    found = meaning_captions(list(wordings), parts, fits, lessons, encoder)
    return found + [beside for each in found for beside in in_company(each, captions, random)]


def parts_of(captions: list[str]) -> list[str]:
    """Captions, and what stands in them between commas and the like."""
    parts = (part.strip(" .") for caption in captions for part in re.split(", | and | with ", caption))
    return list(dict.fromkeys(filter(None, [*captions, *parts])))


def in_company(paraphrase: Paraphrase, captions: list[str], random: Random) -> list[Paraphrase]:
    """Text and meaning, each joined to the same captions, which state nothing of what they state."""
    found: list[Paraphrase] = []
    while len(found) < COMPANIES:
        caption = random.choice(captions)
        if not both_state(paraphrase.meaning, caption):
            join = random.choice(("{0}, {1}", "{1}, {0}")).format
            text, meaning = (join(part, caption) for part in (paraphrase.text, paraphrase.meaning))
            found.append(Paraphrase(text=text, meaning=meaning))
    return found


def both_state(one: str, other: str) -> bool:
    """Whether there is a fact that both state, the same or not."""
    facts, others = vars(facts_of(one)), vars(facts_of(other))
    return any(facts[name] and others[name] for name in facts)


def of_everyday(prompts: list[str], captions: list[str], lessons: Lessons, encoder: TextEncoder) -> list[Paraphrase]:
    """Prompts of skies and a caption that means the same; and prompts of other things, which mean themselves."""
    taught = lessons.similarity(prompts, captions)
    nearest = taught.amax(1)
    far = (prompts[i] for i in (nearest < FAR).nonzero().flatten().tolist())
    of_other_things = [prompt for prompt in far if not facts_of(prompt)][:OTHER_THINGS]
    of_skies = (nearest >= NEAR).nonzero().flatten().tolist()
    prompts, taught = [prompts[i] for i in of_skies], taught[of_skies]
    fits = meant(taught, pooled(encoder, prompts) @ pooled(encoder, captions).T, captions, agreed=AGREED)
    found = meaning_captions(prompts, captions, fits, lessons, encoder)
    return found + [Paraphrase(text=prompt, meaning=prompt) for prompt in of_other_things]


def meaning_captions(
    prompts: list[str],
    captions: list[str],
    fits: Bool[Tensor, "prompts captions"],
    lessons: Lessons,
    encoder: TextEncoder,
) -> list[Paraphrase]:
    """Of the captions that fit a prompt and are most like it, the most central; no paraphrase where none fits."""
    embeddings = pooled(encoder, captions)
    likeness = lessons.similarity(prompts, captions) + pooled(encoder, prompts) @ embeddings.T
    found = []
    for prompt, row in zip(prompts, likeness.masked_fill(~fits, -math.inf), strict=True):
        if row.isfinite().any():
            values, which = row.topk(NEIGHBOURS)
            mean = (values / TEMPERATURE).softmax(-1) @ embeddings[which]
            central = which[(embeddings[which] @ mean).where(values.isfinite(), -math.inf).argmax()]
            found.append(Paraphrase(text=prompt, meaning=captions[central]))
    return found


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    arguments = parser.parse_args()
    lines = (arguments.clips / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    captions = list(dict.fromkeys(caption for line in lines for caption in json.loads(line)["text"]))
    synonyms = with_synonyms(captions, WordNet(arguments.wordnet), Random(0))
    everyday = usable(lines_of(arguments.prompts))
    reworded = sorted({each.text for group in synonyms for each in group})
    wordings = read_wordings(WORDINGS)
    lessons = ask_teacher(arguments.teacher, [*everyday, *reworded, *wordings], parts_of(captions))
    encoder = load_text(arguments.weights)
    asked = evaluates_own()
    of_synonyms = [each for each in understood(synonyms, captions, lessons) if each.text not in asked]
    of_others = of_wordings(wordings, captions, lessons, encoder, Random(0))
    of_prompts = of_everyday(everyday, captions, lessons, encoder)
    for each in [*of_captions(captions, Random(0)), *of_synonyms, *of_others, *of_prompts]:
        print(f"{each.text}\t{each.meaning}")


if __name__ == "__main__":
    main()
