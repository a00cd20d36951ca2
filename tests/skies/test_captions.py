"""Captions: varied, distinct, repeatable, and true."""

import re
from dataclasses import replace
from functools import lru_cache

import pytest

from soradit.media.mirror import mirror_caption
from soradit.skies.captions import captions
from soradit.skies.scene import Scene, draw_scene

_SCENES = [draw_scene(seed) for seed in range(400)]


@lru_cache(maxsize=len(_SCENES))
def _texts(scene: Scene) -> list[str]:
    return [text.lower() for text in captions(scene, scene.seed, 6)]


def test_distinct_repeatable_and_prefixes() -> None:
    for scene in _SCENES[:50]:
        texts = captions(scene, 5, 6)
        assert len(set(texts)) == 6
        assert captions(scene, 5, 3) == texts[:3]
        assert all(text.replace("空", "").isascii() and text == text.strip() for text in texts)


def test_a_wide_vocabulary_with_sky_and_the_title_prompt() -> None:
    texts = [text for scene in _SCENES for text in _texts(scene)]
    vocabulary = {word for text in texts for word in re.findall(r"[a-z-]+", text)}
    assert len(vocabulary) >= 150
    assert any("sora is sky" in text for text in texts)
    assert any("空" in text for text in texts)
    assert sum("sky" in text for text in texts) > 0.3 * len(texts)
    assert min(len(text.split()) for text in texts) == 1


def test_a_bare_sky_is_a_fair_one() -> None:
    bare = [scene for scene in _SCENES if {"sora is sky", "sora", "空", "sky", "a sky"} & set(_texts(scene))]
    assert len(bare) >= 10
    assert all(scene.daylight and scene.clouds in ("scattered", "broken") for scene in bare)


def test_a_mirrored_clip_has_the_mirrored_captions() -> None:
    other = {"left": "right", "right": "left"}
    sided = [scene for scene in _SCENES[:100] if scene.drift.endswith(("left", "right"))]
    changed = 0
    for scene in sided:
        depth, _, side = scene.drift.rpartition("-")
        mirrored = replace(scene, drift="-".join(filter(None, (depth, other[side]))))  # type: ignore[arg-type]
        texts = captions(scene, 3, 6)
        assert captions(mirrored, 3, 6) == [mirror_caption(text) for text in texts]
        changed += sum(mirror_caption(text) != text for text in texts)
    assert changed > len(sided)


def test_no_side_is_named_where_the_clouds_have_none() -> None:
    for scene in _SCENES[:100]:
        if scene.drift in ("towards", "away"):
            assert all(mirror_caption(text) == text for text in captions(scene, 1, 4))


@pytest.mark.parametrize("word", [
    "dusk", "twilight", "daybreak", "dawn", "midnight", "midday", "grey", "gray", "gloomy", "sunny", "overcast",
    "cloudless", "stratus", "cumulus", "cirrus", "sora",
])  # fmt: skip
def test_everyday_words_are_used(word: str) -> None:
    assert any(word in text for scene in _SCENES for text in _texts(scene))


@pytest.mark.parametrize(
    ("pattern", "fact"),
    [
        (r"\bstar(s|ry)\b(?<!shooting stars)", lambda scene: scene.stars),
        (r"moon", lambda scene: scene.moon != "none"),
        (r"aurora|northern lights", lambda scene: scene.aurora),
        (r"\brain", lambda scene: scene.rain),
        (r"lightning", lambda scene: scene.lightning),
        (r"mist|fog", lambda scene: scene.mist),
        (r"\bsea\b|ocean|water|waves", lambda scene: scene.horizon == "sea"),
        (r"hills|land\b", lambda scene: scene.horizon == "hills"),
        (r"\bblue sky", lambda scene: scene.daylight or scene.hour == "night"),
        (r"sunset|sundown", lambda scene: scene.hour in ("sunset", "dusk")),
        (r"sunrise", lambda scene: scene.hour in ("sunrise", "dawn")),
        (r"night\b|midnight", lambda scene: scene.hour == "night"),
        (r"\bnoon|midday|daylight", lambda scene: scene.daylight),
        (r"sunny|sunshine", lambda scene: scene.daylight and scene.clouds != "overcast"),
        (r"gr[ea]y", lambda scene: scene.daylight and scene.clouds == "overcast"),
        (r"gloomy", lambda scene: scene.clouds in ("overcast", "storm")),
        (r"growing|swelling|building up", lambda scene: scene.growth > 0),
        (r"dissolving|shrinking|fading", lambda scene: scene.growth < 0),
        (r"clear sky|cloudless", lambda scene: scene.clouds == "clear"),
        (r"leftwards|right to left|to the left", lambda scene: "left" in scene.drift),
        (r"rightwards|left to right|to the right", lambda scene: "right" in scene.drift),
    ],
)
def test_nothing_is_said_that_the_scene_does_not_hold(pattern: str, fact) -> None:  # type: ignore[no-untyped-def]
    said = 0
    for scene in _SCENES:
        for text in _texts(scene):
            if re.search(pattern, text):
                said += 1
                assert fact(scene), f"{text!r} of {scene}"
    assert said
