"""Makes docs/generated.png and .webp, what the bundled weights make of six prompts: ``python docs/picture.py``."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from einops import rearrange

from soradit.media.writing import write_video
from soradit.pipeline import Pipeline

PROMPTS = (
    "sora is sky",
    "a clear blue sky at noon with a few small clouds",
    "a red sunset over the sea",
    "a starry night sky",
    "storm clouds moving fast to the left",
    "a pink dawn over the hills",
)
FRAMES_SHOWN = 5
COLUMNS = 3
DOCS = Path(__file__).parent


def contact_sheet(videos: np.ndarray) -> np.ndarray:
    """A row a video (n, T, H, W, 3), time from left to right, at half size."""
    shown = np.linspace(0, videos.shape[1] - 1, FRAMES_SHOWN).round().astype(int)
    return rearrange(videos[:, shown, ::2, ::2], "n t h w c -> (n h) (t w) c")


def side_by_side(videos: np.ndarray) -> np.ndarray:
    """All videos as one, at half size: (T, H, W, 3)."""
    halves = rearrange(videos.astype(np.float32), "n t (h a) (w b) c -> n t h w (a b) c", a=2, b=2).mean(axis=-2)
    return rearrange(halves.round().astype(np.uint8), "(r k) t h w c -> t (r h) (k w) c", k=COLUMNS)


if __name__ == "__main__":
    made = list(Pipeline.load().generate(PROMPTS))
    videos = np.stack([video.frames for video in made])
    iio.imwrite(DOCS / "generated.png", contact_sheet(videos))
    write_video(DOCS / "generated.webp", side_by_side(videos), fps=made[0].fps, overwrite=True)
