"""What a video says of itself beside its pictures."""

import json
from pathlib import Path
from typing import Any

from soradit.errors import SoraditError
from soradit.media.decoding import open_video

NEEDED = {"soradit": str, "weights": str, "prompt": str, "negative": str, "seed": int}


def read_about(path: Path) -> dict[str, Any]:
    """How soradit made it, from the JSON in its comment.

    Raises SoraditError when it doesn't say, or is not a readable video.
    """
    with open_video(path) as video:
        comment = video.header.tags.get("comment", "")
    try:
        about = json.loads(comment)
    except ValueError:
        about = None
    if not isinstance(about, dict) or any(not isinstance(about.get(name), kind) for name, kind in NEEDED.items()):
        raise SoraditError(f"{path} doesn't say how it was made: soradit's own MP4s do, unless made with --no-metadata")
    return about
