"""What a prompt says of hour, clouds and drift, by word lists, so that anyone can see why.

Groups are tried in order and the first that matches decides: "before sunrise" is twilight, and only after that
is "sunrise" a low sun. The lists hold the words of rendered captions, and everyday words that no caption uses.
"""

import re
from dataclasses import dataclass

_HOURS = (
    ("twilight", "dusk", "dawn", "twilight", "blue hour", "daybreak", "break of day", "first light", "nightfall"),
    ("twilight", "before sun(rise|up)", "(after|past) sun(set|down)", "(night|darkness) falls", "darkening"),
    ("twilight", "before the sun comes up", "after the sun has gone down", "late in the evening"),
    ("twilight", "day fades", "gloaming"),
    ("low sun", "sunrises?", "sunsets?", "sunup", "sundown", "golden hour", "evening (glow|sky)", "alpenglow"),
    ("low sun", "sun (rises|sets|goes down|comes up)", "(low|rising|setting|sinking) sun"),
    ("night", "nights?", "night-?time", "midnight", "after dark", "dark sky", "darkness", "nocturnal", "small hours"),
    ("night", "stars?", "starry", "star(lit|light)", "moon(lit|light)?", "aurora", "northern lights", "milky way"),
    ("day", "day", "daytime", "daylight", "noon(tide)?", "midday", "(fore|after)noon", "morning", "lunchtime"),
    ("day", "sunny", "sun(shine|lit|light)", "high sun", "blue sk(y|ies)", "azure"),
)
_COVERS = (
    ("partly cloudy", "part(ly|ially) cloudy", "cloudy blue sky", "clouds? (in|on) an? blue sky"),
    ("overcast", "overcast", "cloudy", "(thick|flat|stratus|rain) clouds?", "(blanket|layer|sheet) of clouds?"),
    ("overcast", "gr[ae]y", "leaden", "gloomy", "dreary", "dull", "murky", "sunless", "covered sky", "bad weather"),
    ("overcast", "storms?", "stormy", "thunder\\w*", "lightning", "tempest", "rain", "rainy"),
    ("overcast", "(black|dark) clouds?", "threatening", "ominous", "menacing", "brooding"),
    (
        "partly cloudy",
        "mostly clear",
        "clear\\b.*\\b(?<!no )(?<!without )(few|some|small|scattered|white|puffy)( \\w+)? clouds?",
    ),
    ("partly cloudy", "(few|some|small|scattered|white|puffy)( \\w+)? clouds? (in|on) an? clear"),
    ("clear", "clear", "unclouded", "cloud(less|-free)", "no clouds?", "not a cloud", "without (a |any )?clouds?"),
    ("clear", "empty sky"),
    ("partly cloudy", "(some|few|small|many|sparse|scattered|broken|thin|puffy|fluffy|fleecy|wispy|feathery) clouds?"),
    ("partly cloudy", "(white|high|billowing|fair weather|sheep|cotton wool|cotton candy) clouds?", "puffs of white"),
    ("partly cloudy", "(handful|heaps|lots|wisps|veils) of (puffy |thin )?clouds?", "blue sky with clouds"),
    ("partly cloudy", "cirrus", "cumulus", "mackerel sky", "mares' tails"),
)
_ACROSS = (
    ("right", "to the right", "rightwards?", "from (the )?left"),
    ("left", "to the left", "leftwards?", "from (the )?right"),
    ("right", "right"),
    ("left", "left"),
)
_DEPTH = (
    ("away", "away", "(into|to) the (far )?distance", "towards? the horizon", "reced(es?|ing)", "f[au]rther"),
    ("towards", "closer", "nearer", "approach(es|ing)?", "(towards?|at) (us|me|you|the viewer|the camera)"),
    ("towards", "over(head| us| our heads)"),
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """None where the prompt leaves it open."""

    hour: str | None
    """night, twilight, low sun or day. Sunrise and sunset look alike in a clip of seconds, as do dawn and dusk."""
    cover: str | None
    """clear, partly cloudy or overcast."""
    drift: str | None
    """left, right, towards, away, or two of them, as ``left towards``."""

    def __bool__(self) -> bool:
        return any((self.hour, self.cover, self.drift))


def facts_of(prompt: str) -> Facts:
    """What the prompt states."""
    text = prompt.lower()
    drift = " ".join(filter(None, (_first(text, _ACROSS), _first(text, _DEPTH))))
    return Facts(hour=_first(text, _HOURS), cover=_first(text, _COVERS), drift=drift or None)


def _first(text: str, groups: tuple[tuple[str, ...], ...]) -> str | None:
    return next((name for name, *words in groups if re.search(rf"\b({'|'.join(words)})\b", text)), None)
