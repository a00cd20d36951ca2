"""Captions for a scene, worded as people word prompts. Facts may be left out, but never contradicted."""

from collections.abc import Sequence

import numpy as np

from soradit.skies.scene import Scene
from soradit.skies.words import (
    BARE_SKY_WORDS,
    CLOUD_WORDS,
    ENDINGS,
    GREY_WORDS,
    HORIZON_WORDS,
    HOUR_WORDS,
    MOON_WORDS,
    MOTION_WORDS,
    OPENINGS,
    SKY_WORDS,
    drift_words,
)


class _Words:
    """Picks wordings with one generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def one(self, options: Sequence[str]) -> str:
        return options[int(self._generator.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self._generator.random() < probability)

    def shuffled(self, items: list[str]) -> list[str]:
        return [items[i] for i in self._generator.permutation(len(items))]


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _short(scene: Scene, words: _Words) -> str:
    """Two to five words, as a hurried person types."""
    options = [*SKY_WORDS[scene.hour], *(_article(sky) for sky in SKY_WORDS[scene.hour])]
    if scene.clouds != "clear":
        options += [f"{kind} {words.one(HOUR_WORDS[scene.hour])}" for kind in CLOUD_WORDS[scene.clouds]]
        options += [f"clouds {words.one(MOTION_WORDS[scene.drift_speed])} {way}" for way in drift_words(scene.drift)]
    if scene.clouds == "clear" and scene.daylight:
        options += [
            "clear blue sky",
            "a blue sky",
            "blue sky",
            "cloudless sky",
            "a clear day",
            "sunny sky",
            "sunny day",
        ]
    if scene.clouds in ("scattered", "broken") and scene.daylight:
        options += ["blue sky with clouds", "white clouds in a blue sky", "clouds drifting", "cloudy blue sky"]
    if scene.clouds == "scattered" and scene.daylight:
        options += [
            "a clear blue sky with a few small clouds",
            "clear blue sky with white clouds",
            "blue sky and a few clouds",
        ]
    if scene.clouds == "overcast":
        options += ["overcast sky", "gloomy sky", "gloomy weather", "a dull sky", "cloudy sky"]
        options += ["grey sky", "a cloudy day", "a grey day", "gray sky", "gloomy day"] if scene.daylight else []
    if scene.clouds == "storm":
        options += ["stormy sky", "a storm is coming", "dark storm clouds", "gloomy storm clouds", "bad weather"]
        options += ["rainy sky", "rain clouds"] if scene.rain else []
    if scene.stars:
        options += ["starry night", "a starry sky", "stars at night", "sky full of stars", "stars in the dark"]
    if scene.hour in ("sunset", "sunrise"):
        options += [f"a red {scene.hour}", f"golden {scene.hour}", scene.hour + " sky", f"a colorful {scene.hour}"]
    if scene.aurora:
        options += ["green aurora", "northern lights", "aurora borealis"]
    if scene.moon != "none":
        options += ["moon in the night sky", f"{words.one(MOON_WORDS[scene.moon])} at night"]
    if words.chance(0.35) and scene.daylight and scene.clouds in ("scattered", "broken"):
        return words.one(BARE_SKY_WORDS)
    return (words.one(("sora, ", "空, ")) if words.chance(0.03) else "") + words.one(options)


def _cloud_phrase(scene: Scene, words: _Words) -> str:
    grey = scene.daylight and scene.clouds == "overcast" and words.chance(0.3)
    kind = words.one(GREY_WORDS if grey else CLOUD_WORDS[scene.clouds])
    if scene.clouds == "clear" or words.chance(0.15):
        return kind
    # A "sky" does not drift, its clouds do.
    mover = kind if "cloud" in kind and "sky" not in kind else f"{kind}, clouds"
    motion = words.one(MOTION_WORDS[scene.drift_speed])
    if words.chance(0.9):
        motion += " " + words.one(drift_words(scene.drift))
    return f"{mover} {motion}"


def _extras(scene: Scene, words: _Words) -> list[str]:
    """The facts beside hour and clouds that hold in the scene."""
    found = []
    if scene.stars:
        found.append(
            words.one(("stars", "many stars", "twinkling stars", "stars turning slowly", "a sky full of stars"))
        )
    if scene.moon != "none":
        found.append(words.one(MOON_WORDS[scene.moon]))
    if scene.aurora:
        found.append(words.one(("green aurora", "northern lights", "dancing aurora borealis", "curtains of aurora")))
    if scene.shooting_star:
        found.append(words.one(("shooting stars", "meteors", "a falling star")))
    if scene.rain:
        found.append(
            words.one(("rain", "falling rain", "a rain shower", "pouring rain", "curtains of rain", "rainy weather"))
        )
    if scene.lightning:
        found.append(words.one(("lightning", "flashes of lightning", "a thunderstorm")))
    if scene.growth and scene.clouds != "clear":
        growing = ("clouds growing", "clouds building up", "swelling clouds", "clouds spreading")
        fading = ("clouds dissolving", "clouds fading", "shrinking clouds", "clouds thinning out")
        found.append(words.one(growing if scene.growth > 0 else fading))
    if scene.mist:
        found.append(words.one(("mist at the horizon", "haze near the ground", "morning fog" if scene.hour in
                                ("dawn", "sunrise", "morning") else "a low mist")))  # fmt: skip
    if scene.hour in ("sunset", "sunrise"):
        found.append(words.one(("warm colors", "an orange glow", "golden light", "red and orange light")))
    if scene.daylight and scene.clouds in ("clear", "scattered", "cirrus"):
        found.append(words.one(("blue sky", "sunny weather", "sunshine", "a deep blue sky", "a sunny day", "sunlight")))
    return found


def _middling(scene: Scene, words: _Words) -> str:
    """Clouds and hour, the order free, the rest left out."""
    clouds, hour = _cloud_phrase(scene, words), words.one(HOUR_WORDS[scene.hour])
    sky = words.one(SKY_WORDS[scene.hour])
    return words.one([f"{clouds} {hour}", f"{hour}, {clouds}", f"{sky}, {clouds}", f"{clouds}, {sky}"])


def _long(scene: Scene, words: _Words) -> str:
    clouds, hour = _cloud_phrase(scene, words), words.one(HOUR_WORDS[scene.hour])
    sky = _article(words.one(SKY_WORDS[scene.hour]))
    place = words.one(HORIZON_WORDS[scene.horizon]) if scene.horizon != "none" and words.chance(0.65) else ""
    extras = [extra for extra in words.shuffled(_extras(scene, words)) if words.chance(0.75)][:3]
    opening = words.one(OPENINGS) if words.chance(0.35) else "{}"
    # "time-lapse of at noon, ..." would be no English.
    cores = [f"{sky} with {clouds}", f"{clouds} {hour}", f"{sky}, {clouds}"] + [f"{hour}, {clouds}"] * (opening == "{}")
    core = words.one(cores)
    core = " ".join(filter(None, (core, place)))
    if extras:
        joined = ", ".join(extras[:-1]) + (" and " if len(extras) > 1 else "") + extras[-1]
        core = words.one([f"{core}, {joined}", f"{core}, with {joined}", f"{core}, {joined}"])
    core = opening.format(core)
    if words.chance(0.15):
        core = f"{core}, {words.one(ENDINGS)}"
    return core


def describe(scene: Scene, generator: np.random.Generator) -> str:
    """One caption for the scene: ascii but for 空, mostly lower case, from one word to about thirty."""
    words = _Words(generator)
    word_it = (_short, _middling, _long)[int(generator.choice(3, p=(0.28, 0.28, 0.44)))]
    text = word_it(scene, words)
    return text.capitalize() + "." if words.chance(0.08) else text


def captions(scene: Scene, seed: int, count: int) -> list[str]:
    """``count`` distinct captions; the same arguments always give the same ones, and fewer are their beginning."""
    generator = np.random.default_rng((seed, 12))
    found: dict[str, None] = {}
    while len(found) < count:
        found[describe(scene, generator)] = None
    return list(found)
