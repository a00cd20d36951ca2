"""Captions for a scene, worded as people word prompts. Facts may be left out, but never contradicted."""

import numpy as np

from soradit.skies.scene import Clouds, Drift, Horizon, Hour, Phase, Scene, Speed

_HOUR_WORDS: dict[Hour, tuple[str, ...]] = {
    "night": ("at night", "in the night", "late at night", "after dark", "at midnight", "in the dark of night"),
    "dawn": ("at dawn", "before sunrise", "at daybreak", "in the early twilight", "at first light", "in the blue hour"),
    "sunrise": ("at sunrise", "as the sun rises", "in the golden light of sunrise", "early in the morning at sunrise"),
    "morning": ("in the morning", "on a bright morning", "in morning light", "during the morning"),
    "noon": ("at noon", "at midday", "in the middle of the day", "in full daylight", "under a high sun"),
    "afternoon": ("in the afternoon", "on a summer afternoon", "in afternoon light", "late in the day"),
    "sunset": ("at sunset", "as the sun sets", "in the evening glow", "at sundown", "in the last light of the sunset"),
    "dusk": ("at dusk", "after sunset", "in the evening twilight", "at nightfall", "in the blue hour"),
}
_SKY_WORDS: dict[Hour, tuple[str, ...]] = {
    "night": ("night sky", "dark sky", "dark night sky", "black and blue night sky", "nighttime sky"),
    "dawn": ("dawn sky", "twilight sky", "dim sky before sunrise", "quiet dawn sky"),
    "sunrise": ("sunrise sky", "golden sunrise sky", "orange sunrise sky", "glowing morning sky at sunrise"),
    "morning": ("morning sky", "bright morning sky", "fresh morning sky", "daytime sky"),
    "noon": ("midday sky", "bright daytime sky", "noon sky", "sky in daylight"),
    "afternoon": ("afternoon sky", "daytime sky", "calm afternoon sky", "sky in the afternoon"),
    "sunset": ("sunset sky", "red sunset sky", "orange sunset sky", "golden evening sky", "glowing sunset sky"),
    "dusk": ("dusk sky", "twilight sky", "evening sky after sunset", "dim dusk sky"),
}
_CLOUD_WORDS: dict[Clouds, tuple[str, ...]] = {
    "clear": ("a clear sky", "no clouds", "a cloudless sky", "not a cloud in sight"),
    "scattered": (
        "scattered clouds",
        "a few clouds",
        "puffy cumulus clouds",
        "small fluffy clouds",
        "fair weather clouds",
    ),
    "broken": ("broken clouds", "many clouds", "big cumulus clouds", "a partly cloudy sky", "heaps of puffy clouds"),
    "overcast": ("an overcast sky", "thick clouds", "a blanket of clouds", "a closed layer of clouds", "a cloudy sky"),
    "cirrus": (
        "cirrus clouds",
        "thin wispy clouds",
        "high feathery clouds",
        "streaks of cirrus",
        "veils of thin cloud",
    ),
    "storm": (
        "storm clouds",
        "dark storm clouds",
        "heavy threatening clouds",
        "a stormy sky",
        "brooding thunderclouds",
    ),
}
_DRIFT_WORDS: dict[Drift, tuple[str, ...]] = {
    "left": ("to the left", "leftwards", "left", "from right to left"),
    "right": ("to the right", "rightwards", "right", "from left to right"),
    "towards": ("towards the viewer", "towards us", "closer overhead", "towards the camera"),
    "away": ("away from the viewer", "away", "into the distance", "towards the horizon"),
    "towards-left": ("to the left and towards us", "left and closer"),
    "towards-right": ("to the right and towards us", "right and closer"),
    "away-left": ("to the left and away", "left into the distance"),
    "away-right": ("to the right and away", "right into the distance"),
}
_MOTION_WORDS: dict[Speed, tuple[str, ...]] = {
    "slow": ("slowly drifting", "drifting slowly", "creeping", "moving gently", "floating calmly"),
    "moderate": ("drifting", "moving", "sailing", "gliding", "floating", "passing"),
    "fast": ("racing", "moving fast", "rushing", "quickly drifting", "sweeping", "hurrying"),
}
_MOON_WORDS: dict[Phase, tuple[str, ...]] = {
    "none": (),
    "crescent": ("a crescent moon", "a thin moon", "a sickle moon"),
    "half": ("a half moon", "a moon half lit", "the moon"),
    "full": ("a full moon", "a bright moon", "the moon shining", "moonlight"),
}
_HORIZON_WORDS: dict[Horizon, tuple[str, ...]] = {
    "none": (),
    "hills": ("over hills", "above the hills", "over a ridge of hills", "above rolling hills", "over the land"),
    "sea": ("over the sea", "above the ocean", "over calm water", "reflected in the sea", "above the waves"),
}
_OPENINGS = (
    "time-lapse of {}", "a time-lapse of {}", "timelapse video of {}", "a video of {}", "view of {}",
    "footage of {}", "looking up at {}", "sora is sky, {}", "sky: {}",
)  # fmt: skip
_ENDINGS = ("time-lapse", "photorealistic", "wide angle", "realistic video", "timelapse", "cinematic", "nature footage")


class _Words:
    """Picks wordings with one generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def one(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self._generator.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self._generator.random() < probability)

    def shuffled(self, items: list[str]) -> list[str]:
        return [items[i] for i in self._generator.permutation(len(items))]


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _short(scene: Scene, words: _Words) -> str:
    """Two to five words, as a hurried person types."""
    options = [*_SKY_WORDS[scene.hour], *(_article(sky) for sky in _SKY_WORDS[scene.hour])]
    if scene.clouds != "clear":
        options += [f"{kind} {words.one(_HOUR_WORDS[scene.hour])}" for kind in _CLOUD_WORDS[scene.clouds]]
    if scene.clouds == "clear" and scene.daylight:
        options += ["clear blue sky", "a blue sky", "blue sky", "cloudless sky", "a clear day"]
    if scene.clouds in ("scattered", "broken") and scene.daylight:
        options += ["blue sky with clouds", "white clouds in a blue sky", "clouds drifting", "cloudy blue sky"]
    if scene.clouds == "overcast":
        options += ["overcast sky", "grey sky", "a cloudy day"] if scene.daylight else ["overcast sky"]
    if scene.clouds == "storm":
        options += ["stormy sky", "a storm is coming", "dark storm clouds"]
    if scene.stars:
        options += ["starry night", "a starry sky", "stars at night", "sky full of stars"]
    if scene.hour in ("sunset", "sunrise"):
        options += [f"a red {scene.hour}", f"golden {scene.hour}", scene.hour + " sky", f"a colorful {scene.hour}"]
    if scene.aurora:
        options += ["green aurora", "northern lights", "aurora borealis"]
    if scene.moon != "none":
        options += ["moon in the night sky", f"{words.one(_MOON_WORDS[scene.moon])} at night"]
    return "sora is sky" if words.chance(0.02) else words.one(options)


def _cloud_phrase(scene: Scene, words: _Words) -> str:
    kind = words.one(_CLOUD_WORDS[scene.clouds])
    if scene.clouds == "clear" or words.chance(0.3):
        return kind
    # A "sky" does not drift, its clouds do.
    mover = kind if "cloud" in kind and "sky" not in kind else f"{kind}, clouds"
    motion = words.one(_MOTION_WORDS[scene.drift_speed])
    if words.chance(0.85):
        motion += " " + words.one(_DRIFT_WORDS[scene.drift])
    return f"{mover} {motion}"


def _extras(scene: Scene, words: _Words) -> list[str]:
    """The facts beside hour and clouds that hold in the scene."""
    found = []
    if scene.stars:
        found.append(
            words.one(("stars", "many stars", "twinkling stars", "stars turning slowly", "a sky full of stars"))
        )
    if scene.moon != "none":
        found.append(words.one(_MOON_WORDS[scene.moon]))
    if scene.aurora:
        found.append(words.one(("green aurora", "northern lights", "dancing aurora borealis", "curtains of aurora")))
    if scene.shooting_star:
        found.append(words.one(("shooting stars", "meteors", "a falling star")))
    if scene.rain:
        found.append(words.one(("rain", "falling rain", "a rain shower", "pouring rain")))
    if scene.lightning:
        found.append(words.one(("lightning", "flashes of lightning", "a thunderstorm")))
    if scene.mist:
        found.append(words.one(("mist at the horizon", "haze near the ground", "morning fog" if scene.hour in
                                ("dawn", "sunrise", "morning") else "a low mist")))  # fmt: skip
    if scene.hour in ("sunset", "sunrise"):
        found.append(words.one(("warm colors", "an orange glow", "golden light", "red and orange light")))
    if scene.daylight and scene.clouds in ("clear", "scattered", "cirrus"):
        found.append(words.one(("blue sky", "sunny weather", "sunshine", "a deep blue sky")))
    return found


def _long(scene: Scene, words: _Words) -> str:
    clouds, hour = _cloud_phrase(scene, words), words.one(_HOUR_WORDS[scene.hour])
    sky = _article(words.one(_SKY_WORDS[scene.hour]))
    place = words.one(_HORIZON_WORDS[scene.horizon]) if scene.horizon != "none" and words.chance(0.65) else ""
    extras = [extra for extra in words.shuffled(_extras(scene, words)) if words.chance(0.75)][:3]
    opening = words.one(_OPENINGS) if words.chance(0.35) else "{}"
    # "time-lapse of at noon, ..." would be no English.
    cores = [f"{sky} with {clouds}", f"{clouds} {hour}", f"{sky}, {clouds}"] + [f"{hour}, {clouds}"] * (opening == "{}")
    core = words.one(cores)
    core = " ".join(filter(None, (core, place)))
    if extras:
        joined = ", ".join(extras[:-1]) + (" and " if len(extras) > 1 else "") + extras[-1]
        core = words.one([f"{core}, {joined}", f"{core}, with {joined}", f"{core}, {joined}"])
    core = opening.format(core)
    if words.chance(0.15):
        core = f"{core}, {words.one(_ENDINGS)}"
    return core


def describe(scene: Scene, generator: np.random.Generator) -> str:
    """One caption for the scene: ascii, mostly lower case, from two words to about thirty."""
    words = _Words(generator)
    text = _short(scene, words) if words.chance(0.3) else _long(scene, words)
    return text.capitalize() + "." if words.chance(0.08) else text


def captions(scene: Scene, seed: int, count: int) -> list[str]:
    """``count`` distinct captions; the same arguments always give the same ones, and fewer are their beginning."""
    generator = np.random.default_rng((seed, 12))
    found: dict[str, None] = {}
    while len(found) < count:
        found[describe(scene, generator)] = None
    return list(found)
