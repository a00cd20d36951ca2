"""What fine-tuning of the bundled weights brings on a few clips of another look: the whole transformer, and LoRA.

    python benchmarks/fine_tuning.py FOLDER [--steps 60] [--picture FILE.jpg]

Clips, runs and merged weights go into FOLDER; what is there already is not made again. The clips are rendered skies in
sepia with a vignette, so that what is learnt can be seen. Of 24, 4 are held out: the seed is chosen for that.
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from machine import describe_run, markdown_heading, markdown_table

from soradit.pipeline import Pipeline
from soradit.training.metrics import read_metrics

COUNT, SEED = 24, 72
LOOK = "colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131,vignette"
BATCH_SIZE, NUM_FRAMES = 4, 16
PROMPT = "a red sunset over the sea"
FRAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to fine-tune."""

    name: str
    folder: str
    options: tuple[str, ...]
    published: str
    """What of the run's folder is needed to generate with it, beside the bundled weights."""


VARIANTS = (
    Variant(name="all of the transformer", folder="full", options=("--lr", "2e-4"), published="transformer"),
    Variant(name="LoRA, rank 8", folder="lora", options=("--lora", "8", "--lr", "1e-3"), published="lora"),
)


def soradit(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "soradit", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def make_clips(folder: Path) -> Path:
    """Captioned skies of another look."""
    plain, graded = folder / "plain", folder / "clips"
    if graded.is_dir():
        return graded
    soradit("skies", plain, "--count", COUNT, "--seed", SEED)
    made = folder / "clips.part"
    made.mkdir(exist_ok=True)
    for clip in sorted(plain.glob("*.mp4")):
        command = [get_ffmpeg_exe(), "-v", "error", "-y", "-i", clip, "-vf", LOOK, "-crf", "16", made / clip.name]
        subprocess.run([str(word) for word in command], check=True)
    shutil.copy(plain / "metadata.jsonl", made)
    made.rename(graded)
    return graded


def train(clips: Path, run: Path, steps: int, *options: str) -> list[dict[str, float]]:
    """The rows of its metrics."""
    now_and_then = ("--evaluate-every", 10, "--sample-every", steps, "--prompt", PROMPT)
    of_what = ("--data", clips, "--frames", NUM_FRAMES, "--batch-size", BATCH_SIZE)
    soradit("train", *of_what, "-o", run, "--steps", steps, *now_and_then, *options)
    return [{name: float(value) for name, value in row.items() if value} for row in read_metrics(run / "metrics.csv")]


def table_row(variant: Variant, run: Path, rows: list[dict[str, float]]) -> list[str]:
    held_out = [(row["held_out_loss"], int(row["step"])) for row in rows if "held_out_loss" in row]
    lowest, at_step = min(held_out)
    megabytes = sum(file.stat().st_size for file in (run / variant.published).iterdir()) / 1e6
    return [variant.name, f"{lowest:.3f}", f"{at_step}", f"{held_out[-1][0]:.3f}", f"{megabytes:.1f} MB"]


def picture(weights: list[Path | None]) -> np.ndarray:
    """A row a folder of weights, time from left to right: uint8 (H, W, 3)."""
    rows = []
    for folder in weights:
        frames = Pipeline.load(folder)(PROMPT).frames
        shown = np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)
        rows.append(np.concatenate(list(frames[shown]), axis=1))
    return np.concatenate(rows, axis=0)[::2, ::2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    clips = make_clips(options.folder)
    (base,) = train(clips, options.folder / "base", 1, "--lr", "1e-12")  # a step that changes nothing
    trained = {v: train(clips, options.folder / v.folder, options.steps, *v.options) for v in VARIANTS}
    columns = ["", "lowest held-out loss", "at step", f"after {options.steps}", "to keep"]
    rows = [table_row(v, options.folder / v.folder, trained[v]) for v in VARIANTS]
    print(markdown_heading(describe_run()) + "\n")
    print(markdown_table(columns, [["none", f"{base['held_out_loss']:.3f}", "0", "", ""], *rows]))
    if options.picture:
        merged = options.folder / "merged"
        if not merged.is_dir():
            soradit("merge", options.folder / "lora/lora", "-o", merged)
        iio.imwrite(options.picture, picture([None, options.folder / "full", merged]), quality=85)


if __name__ == "__main__":
    main()
