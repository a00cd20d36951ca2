"""What prompts state, read by word lists."""

from importlib.resources import files

import pytest

from soradit.evaluation.facts import Facts, facts_of
from soradit.skies.captions import captions
from soradit.skies.scene import Scene, draw_scene

HOURS = {"night": "night", "dawn": "twilight", "dusk": "twilight", "sunrise": "low sun", "sunset": "low sun"}
COVERS = {"clear": "clear", "overcast": "overcast", "storm": "overcast"}


def shown_by(scene: Scene) -> Facts:
    depth, _, side = scene.drift.rpartition("-")
    return Facts(
        hour=HOURS.get(scene.hour, "day"),
        cover=COVERS.get(scene.clouds, "partly cloudy"),
        drift=f"{side} {depth}".strip(),
    )


def test_captions_of_rendered_skies_state_what_the_scene_holds() -> None:
    found = {"hour": 0, "cover": 0, "drift": 0}
    for seed in range(150):
        scene = draw_scene(seed)
        for caption in captions(scene, seed, 4):
            stated = facts_of(caption)
            for fact in found:
                if getattr(stated, fact):
                    found[fact] += 1
                    assert getattr(stated, fact) == getattr(shown_by(scene), fact), caption
    assert found["hour"] > 500
    assert found["cover"] > 400
    assert found["drift"] > 150


@pytest.mark.parametrize(
    ("prompt", "hour", "cover", "drift"),
    [
        ("just before sunrise", "twilight", None, None),
        ("Sunrise, early in the morning", "low sun", None, None),
        ("a starry sky without any clouds", "night", "clear", None),
        ("a clear blue sky at noon with a few small clouds", "day", "partly cloudy", None),
        ("a gloomy day", "day", "overcast", None),
        ("a few clouds moving in from the left", None, "partly cloudy", "right"),
        ("clouds flow from left to right, towards the viewer", None, None, "right towards"),
        ("storm clouds, receding to the left", None, "overcast", "left away"),
        ("a cat playing piano", None, None, None),
        ("a startled daydreamer, nightmarish and clearly leftover", None, None, None),
        ("", None, None, None),
    ],
)
def test_facts_of(prompt: str, hour: str | None, cover: str | None, drift: str | None) -> None:
    assert facts_of(prompt) == Facts(hour=hour, cover=cover, drift=drift)
    assert bool(facts_of(prompt)) == any((hour, cover, drift))


def test_each_synonym_states_what_its_heading_says() -> None:
    heading, prompts = None, 0
    for line in files("soradit.evaluation").joinpath("synonyms.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            heading = line[2:]
        elif line:
            stated = facts_of(line)
            assert heading in (stated.hour, stated.cover, stated.drift), line
            prompts += 1
    assert prompts >= 60
