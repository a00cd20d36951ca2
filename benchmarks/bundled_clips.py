"""Links the 858 clips that the bundled weights' fourteenth edition learnt from:

    soradit skies all --count 1500 --seed 1
    python benchmarks/bundled_clips.py all clips

They are the first 260, the 100 that `soradit evaluate --count 100` takes for its distances, every night, and by day and
in twilight every sky with scattered or broken clouds.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from soradit.files import write_whole
from soradit.media.clips import find_clips
from soradit.tasks.evaluate import digest_of

FIRST, FOR_DISTANCES = 260, 100
HOURS = ("dawn", "morning", "noon", "afternoon", "dusk")
CLOUDS = ("scattered", "broken")


def is_wanted(scene: dict[str, Any]) -> bool:
    return scene["hour"] == "night" or (scene["hour"] in HOURS and scene["clouds"] in CLOUDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    rows = {row["file_name"]: row for row in map(json.loads, (arguments.clips / "metadata.jsonl").open("rb"))}
    names = [clip.path.name for clip in sorted(find_clips(arguments.clips), key=digest_of)]
    chosen = {*sorted(names)[:FIRST], *names[:FOR_DISTANCES]}
    chosen |= {name for name in names if is_wanted(rows[name]["scene"])}
    arguments.target.mkdir()
    for name in sorted(chosen):
        os.link(arguments.clips / name, arguments.target / name)
    write_whole(arguments.target / "metadata.jsonl", "".join(json.dumps(rows[name]) + "\n" for name in sorted(chosen)))
    print(f"{len(chosen)} of {len(names)} clips")


if __name__ == "__main__":
    main()
