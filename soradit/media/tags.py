"""What a video says of itself beside its pictures."""

import json
from pathlib import Path
from typing import Any

from soradit.media.decoding import open_video

NEEDED = {"soradit": str, "weights": str, "prompt": str, "negative": str, "seed": int}


def read_about(path: Path) -> dict[str, Any] | None:
    """How soradit made it, from the JSON in its comment; None where it doesn't say.

    Raises SoraditError when it is not a readable video.
    """
    with open_video(path) as video:
        comment = video.header.tags.get("comment", "")
    try:
        about = json.loads(comment)
    except ValueError:
        return None
    if not isinstance(about, dict) or any(not isinstance(about.get(name), kind) for name, kind in NEEDED.items()):
        return None
    return about
