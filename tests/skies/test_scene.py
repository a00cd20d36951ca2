"""Scenes: repeatable, and every hour and cloud often enough to be learnt."""

from collections import Counter

from soradit.skies.scene import DRIFTS, HOURS, draw_scene
from soradit.tasks.skies import scene_seed


def test_same_seed_same_scene() -> None:
    assert draw_scene(11) == draw_scene(11)
    assert draw_scene(11) != draw_scene(12)


def test_every_hour_is_frequent() -> None:
    counts = Counter(draw_scene(seed).hour for seed in range(600))
    assert set(counts) == set(HOURS)
    assert min(counts.values()) > 15
    assert counts["night"] > 80


def test_drifts_are_even() -> None:
    counts = Counter(draw_scene(seed).drift for seed in range(800))
    assert set(counts) == set(DRIFTS)
    assert min(counts.values()) > 70


def test_facts_agree() -> None:
    for scene in map(draw_scene, range(400)):
        assert not (scene.stars and scene.hour != "night")
        assert not (scene.stars and scene.clouds in ("overcast", "storm"))
        assert not (scene.lightning and scene.clouds != "storm")
        assert (scene.sun_elevation > 5) == scene.daylight
        assert abs(sum(v * v for v in scene.drift_vector) - 1) < 1e-6


def test_scene_seeds_do_not_depend_on_the_count_and_differ() -> None:
    seeds = [scene_seed(seed, index) for seed in (0, 1) for index in range(50)]
    assert len(set(seeds)) == 100
    assert seeds[:10] == [scene_seed(0, index) for index in range(10)]
