"""Makes the pictures of the bundled weights in docs/.

    python docs/picture.py                generated.png and .webp: six prompts
    python docs/picture.py EVALUATION     beside-held-out.jpg: frames of an evaluation, generated and real

An evaluation's paths lead from where ``soradit evaluate`` was run.
"""

import json
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from einops import rearrange

from soradit.media.video import read_video
from soradit.media.writing import encode_jpeg, write_video
from soradit.pipeline import Pipeline

PROMPTS = (
    "sora is sky",
    "a clear blue sky at noon with a few small clouds",
    "a red sunset over the sea",
    "a starry night with clouds and the moon",
    "storm clouds moving fast to the left",
    "green northern lights over the hills",
)
FRAMES_SHOWN = 5
COLUMNS = 3
BESIDE_COLUMNS, GENERATED_SHOWN, REAL_SHOWN = 9, 36, 18
GAP = 8
DOCS = Path(__file__).parent


def contact_sheet(videos: np.ndarray) -> np.ndarray:
    """A row a video (n, T, H, W, 3), time from left to right, at half size."""
    shown = np.linspace(0, videos.shape[1] - 1, FRAMES_SHOWN).round().astype(int)
    return rearrange(videos[:, shown, ::2, ::2], "n t h w c -> (n h) (t w) c")


def side_by_side(videos: np.ndarray) -> np.ndarray:
    """All videos as one, at half size: (T, H, W, 3)."""
    halves = rearrange(videos.astype(np.float32), "n t (h a) (w b) c -> n t h w (a b) c", a=2, b=2).mean(axis=-2)
    return rearrange(halves.round().astype(np.uint8), "(r k) t h w c -> t (r h) (k w) c", k=COLUMNS)


def beside_held_out(evaluation: Path) -> np.ndarray:
    """Middle frames at half size: generated ones above held-out ones, the first of each."""
    clips = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))["clips"]
    generated = _grid([clip["generated"] for clip in clips[:GENERATED_SHOWN]])
    gap = np.full((GAP, *generated.shape[1:]), 255, np.uint8)
    return np.concatenate([generated, gap, _grid([clip["real"] for clip in clips[:REAL_SHOWN]])])


def _grid(paths: list[str]) -> np.ndarray:
    videos = [read_video(Path(path), num_frames=32)[0] for path in paths]
    frames = np.stack([video[len(video) // 2, ::2, ::2] for video in videos])
    return rearrange(frames, "(r k) h w c -> (r h) (k w) c", k=BESIDE_COLUMNS)


def picture_of_six_prompts() -> None:
    made = list(Pipeline.load().generate(PROMPTS))
    videos = np.stack([video.frames for video in made])
    iio.imwrite(DOCS / "generated.png", contact_sheet(videos))
    write_video(DOCS / "generated.webp", side_by_side(videos), fps=made[0].fps, overwrite=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        (DOCS / "beside-held-out.jpg").write_bytes(encode_jpeg(beside_held_out(Path(sys.argv[1]))))
    else:
        picture_of_six_prompts()
