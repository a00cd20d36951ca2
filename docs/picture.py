"""Makes docs/generated.png, frames of generated videos: ``python docs/picture.py``."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np

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


def contact_sheet(pipeline: Pipeline) -> np.ndarray:
    """A row a prompt, time from left to right: uint8 (H, W, 3)."""
    rows = []
    for prompt in PROMPTS:
        frames = pipeline(prompt).frames
        shown = np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)
        rows.append(np.concatenate(list(frames[shown]), axis=1))
    return np.concatenate(rows, axis=0)[::2, ::2]


if __name__ == "__main__":
    iio.imwrite(Path(__file__).parent / "generated.png", contact_sheet(Pipeline.load()))
