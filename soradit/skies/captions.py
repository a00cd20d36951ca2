"""Captions for a scene, worded as people word prompts. Facts may be left out, but never contradicted."""

from collections.abc import Sequence

import numpy as np

from soradit.media.mirror import mirror_caption
from soradit.skies.scene import Clouds, Drift, Horizon, Hour, Phase, Scene, Speed

_HOUR_WORDS: dict[Hour, tuple[str, ...]] = {
    "night": (
        "at night", "in the night", "late at night", "after dark", "at midnight", "in the dark of night",
        "in the middle of the night", "in darkness",
    ),
    "dawn": (
        "at dawn", "before sunrise", "at daybreak", "in the early twilight", "at first light", "in the blue hour",
        "at the break of day", "in the morning twilight", "before the sun comes up",
    ),
    "sunrise": (
        "at sunrise", "as the sun rises", "in the golden light of sunrise", "early in the morning at sunrise",
        "at sunup", "as the sun comes up", "during sunrise",
    ),
    "morning": ("in the morning", "on a bright morning", "in morning light", "during the morning", "on a new morning"),
    "noon": (
        "at noon", "at midday", "in the middle of the day", "in full daylight", "under a high sun", "at lunchtime",
        "at high noon",
    ),
    "afternoon": (
        "in the afternoon", "on a summer afternoon", "in afternoon light", "late in the day", "during the afternoon",
    ),
    "sunset": (
        "at sunset", "as the sun sets", "in the evening glow", "at sundown", "in the last light of the sunset",
        "as the sun goes down", "during sunset",
    ),
    "dusk": (
        "at dusk", "after sunset", "in the evening twilight", "at nightfall", "in the blue hour", "at twilight",
        "after the sun has gone down", "late in the evening", "as darkness falls",
    ),
}  # fmt: skip
_SKY_WORDS: dict[Hour, tuple[str, ...]] = {
    "night": (
        "night sky", "dark sky", "dark night sky", "black and blue night sky", "nighttime sky", "midnight sky",
        "nocturnal sky",
    ),
    "dawn": ("dawn sky", "twilight sky", "dim sky before sunrise", "quiet dawn sky", "daybreak sky", "purple dawn sky"),
    "sunrise": (
        "sunrise sky", "golden sunrise sky", "orange sunrise sky", "glowing morning sky at sunrise",
        "fiery sunrise sky",
    ),
    "morning": ("morning sky", "bright morning sky", "fresh morning sky", "daytime sky", "light morning sky"),
    "noon": ("midday sky", "bright daytime sky", "noon sky", "sky in daylight", "day sky"),
    "afternoon": ("afternoon sky", "daytime sky", "calm afternoon sky", "sky in the afternoon", "day sky"),
    "sunset": (
        "sunset sky", "red sunset sky", "orange sunset sky", "golden evening sky", "glowing sunset sky",
        "fiery sunset sky", "evening sky at sunset",
    ),
    "dusk": (
        "dusk sky", "twilight sky", "evening sky after sunset", "dim dusk sky", "darkening evening sky",
        "purple dusk sky",
    ),
}  # fmt: skip
_CLOUD_WORDS: dict[Clouds, tuple[str, ...]] = {
    "clear": ("a clear sky", "no clouds", "a cloudless sky", "not a cloud in sight", "an empty sky", "no cloud at all"),
    "scattered": (
        "scattered clouds", "a few clouds", "puffy cumulus clouds", "small fluffy clouds", "fair weather clouds",
        "some clouds", "little cumulus clouds", "a handful of clouds", "sparse clouds", "cotton wool clouds",
    ),
    "broken": (
        "broken clouds", "many clouds", "big cumulus clouds", "a partly cloudy sky", "heaps of puffy clouds",
        "large billowing clouds", "lots of clouds", "towering cumulus clouds", "big white clouds",
    ),
    "overcast": (
        "an overcast sky", "thick clouds", "a blanket of clouds", "a closed layer of clouds", "a cloudy sky",
        "a gloomy sky", "stratus clouds", "a leaden sky", "low flat clouds", "a completely covered sky",
    ),
    "cirrus": (
        "cirrus clouds", "thin wispy clouds", "high feathery clouds", "streaks of cirrus", "veils of thin cloud",
        "wispy clouds", "delicate high clouds", "wisps of cloud", "mares' tails",
    ),
    "storm": (
        "storm clouds", "dark storm clouds", "heavy threatening clouds", "a stormy sky", "brooding thunderclouds",
        "black clouds", "ominous dark clouds", "a gathering storm", "menacing clouds",
    ),
}  # fmt: skip
_GREY_WORDS = ("a grey sky", "a gray sky", "grey clouds", "gray clouds", "a dull grey sky", "grey weather")
# Words of a drift to the left are those of one to the right mirrored, so that a mirrored clip has its own caption.
_SIDE_WORDS = ("to the left", "leftwards", "left", "from right to left", "leftward", "towards the left")
_TOWARDS_WORDS = (
    "towards the viewer", "towards us", "closer overhead", "towards the camera", "toward the viewer",
    "closer and closer",
)  # fmt: skip
_AWAY_WORDS = ("away from the viewer", "away", "into the distance", "towards the horizon", "away from us", "far away")
_DIAGONAL_WORDS: dict[str, tuple[str, ...]] = {
    "towards": ("to the left and towards us", "left and closer", "towards the viewer and to the left"),
    "away": ("to the left and away", "left into the distance", "away and to the left"),
}
MOTION_WORDS: dict[Speed, tuple[str, ...]] = {
    "slow": ("slowly drifting", "drifting slowly", "creeping", "moving gently", "floating calmly", "moving slowly"),
    "moderate": ("drifting", "moving", "sailing", "gliding", "floating", "passing", "rolling", "flowing"),
    "fast": (
        "racing", "moving fast", "rushing", "quickly drifting", "sweeping", "hurrying", "moving quickly", "speeding",
    ),
}  # fmt: skip
_MOON_WORDS: dict[Phase, tuple[str, ...]] = {
    "none": (),
    "crescent": ("a crescent moon", "a thin moon", "a sickle moon"),
    "half": ("a half moon", "a moon half lit", "the moon"),
    "full": ("a full moon", "a bright moon", "the moon shining", "moonlight", "a round moon"),
}
_HORIZON_WORDS: dict[Horizon, tuple[str, ...]] = {
    "none": (),
    "hills": (
        "over hills", "above the hills", "over a ridge of hills", "above rolling hills", "over the land",
        "with hills below", "over a hilly landscape",
    ),
    "sea": (
        "over the sea", "above the ocean", "over calm water", "reflected in the sea", "above the waves",
        "with the sea below", "at the seaside",
    ),
}  # fmt: skip
# Of fair skies only: who speaks of a storm or a night says so.
_BARE_SKY_WORDS = ("sora is sky", "sora", "空", "sora is sky, 空", "sora: sky", "sky", "the sky", "a sky")
_OPENINGS = (
    "time-lapse of {}", "a time-lapse of {}", "timelapse video of {}", "a video of {}", "view of {}",
    "footage of {}", "looking up at {}", "sora is sky, {}", "sky: {}", "sora, {}", "a photo of {}",
    "a short clip of {}",
)  # fmt: skip
_ENDINGS = ("time-lapse", "photorealistic", "wide angle", "realistic video", "timelapse", "cinematic", "nature footage")


def drift_words(drift: Drift) -> tuple[str, ...]:
    """The ways in which captions say where clouds go."""
    depth, _, side = drift.rpartition("-")
    if drift in ("towards", "away"):
        return _TOWARDS_WORDS if drift == "towards" else _AWAY_WORDS
    words = _DIAGONAL_WORDS[depth] if depth else _SIDE_WORDS
    return words if side == "left" else tuple(map(mirror_caption, words))


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
    options = [*_SKY_WORDS[scene.hour], *(_article(sky) for sky in _SKY_WORDS[scene.hour])]
    if scene.clouds != "clear":
        options += [f"{kind} {words.one(_HOUR_WORDS[scene.hour])}" for kind in _CLOUD_WORDS[scene.clouds]]
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
        options += ["moon in the night sky", f"{words.one(_MOON_WORDS[scene.moon])} at night"]
    if words.chance(0.35) and scene.daylight and scene.clouds in ("scattered", "broken"):
        return words.one(_BARE_SKY_WORDS)
    return (words.one(("sora, ", "空, ")) if words.chance(0.03) else "") + words.one(options)


def _cloud_phrase(scene: Scene, words: _Words) -> str:
    grey = scene.daylight and scene.clouds == "overcast" and words.chance(0.3)
    kind = words.one(_GREY_WORDS if grey else _CLOUD_WORDS[scene.clouds])
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
        found.append(words.one(_MOON_WORDS[scene.moon]))
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
    clouds, hour = _cloud_phrase(scene, words), words.one(_HOUR_WORDS[scene.hour])
    sky = words.one(_SKY_WORDS[scene.hour])
    return words.one([f"{clouds} {hour}", f"{hour}, {clouds}", f"{sky}, {clouds}", f"{clouds}, {sky}"])


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
