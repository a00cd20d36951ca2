"""The words that captions have for what a scene shows."""

from soradit.media.mirror import mirror_caption
from soradit.skies.scene import Clouds, Drift, Horizon, Hour, Phase, Speed

HOUR_WORDS: dict[Hour, tuple[str, ...]] = {
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
SKY_WORDS: dict[Hour, tuple[str, ...]] = {
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
CLOUD_WORDS: dict[Clouds, tuple[str, ...]] = {
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
GREY_WORDS = ("a grey sky", "a gray sky", "grey clouds", "gray clouds", "a dull grey sky", "grey weather")
# Words of a drift to the left are those of one to the right mirrored, so that a mirrored clip has its own caption.
SIDE_WORDS = ("to the left", "leftwards", "left", "from right to left", "leftward", "towards the left")
TOWARDS_WORDS = (
    "towards the viewer", "towards us", "closer overhead", "towards the camera", "toward the viewer",
    "closer and closer",
)  # fmt: skip
AWAY_WORDS = ("away from the viewer", "away", "into the distance", "towards the horizon", "away from us", "far away")
DIAGONAL_WORDS: dict[str, tuple[str, ...]] = {
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
MOON_WORDS: dict[Phase, tuple[str, ...]] = {
    "none": (),
    "crescent": ("a crescent moon", "a thin moon", "a sickle moon"),
    "half": ("a half moon", "a moon half lit", "the moon"),
    "full": ("a full moon", "a bright moon", "the moon shining", "moonlight", "a round moon"),
}
HORIZON_WORDS: dict[Horizon, tuple[str, ...]] = {
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
BARE_SKY_WORDS = ("sora is sky", "sora", "空", "sora is sky, 空", "sora: sky", "sky", "the sky", "a sky")
OPENINGS = (
    "time-lapse of {}", "a time-lapse of {}", "timelapse video of {}", "a video of {}", "view of {}",
    "footage of {}", "looking up at {}", "sora is sky, {}", "sky: {}", "sora, {}", "a photo of {}",
    "a short clip of {}",
)  # fmt: skip
ENDINGS = ("time-lapse", "photorealistic", "wide angle", "realistic video", "timelapse", "cinematic", "nature footage")


def drift_words(drift: Drift) -> tuple[str, ...]:
    """The ways in which captions say where clouds go."""
    depth, _, side = drift.rpartition("-")
    if drift in ("towards", "away"):
        return TOWARDS_WORDS if drift == "towards" else AWAY_WORDS
    words = DIAGONAL_WORDS[depth] if depth else SIDE_WORDS
    return words if side == "left" else tuple(map(mirror_caption, words))
