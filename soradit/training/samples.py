"""RUN/samples/step-00000500/: videos of the same prompts and seeds, made again as the model learns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from einops import rearrange

from soradit.files import appearing
from soradit.media.writing import encode_jpeg
from soradit.pipeline import Pipeline, Video
from soradit.training.steps import step_folder, step_folders

FOLDER = "samples"
PICTURE = "{}.jpg"
"""A sample's picture by its number: a few of its frames in a row."""
FRAMES_SHOWN = 4
MAKING = "making samples of step "
"""What the log says of them."""


class Samples:
    """Makes a video of each prompt, with its number as the seed, by the model as it is."""

    def __init__(
        self, run: Path, prompts: list[str], load_pipeline: Callable[[], Pipeline], *, writes: bool = True
    ) -> None:
        """``load_pipeline`` is called when the first sample is due; its transformer is the one that is trained."""
        self.run, self.prompts, self.writes = run, prompts, writes
        self._load_pipeline = load_pipeline
        self._pipeline: Pipeline | None = None

    def are_there(self, step: int) -> bool:
        return step_folder(self.run / FOLDER, step).is_dir()

    def make(self, step: int, poll: Callable[[], None]) -> None:
        """``poll`` is called after each sampling step, and may raise."""
        self._pipeline = self._pipeline or self._load_pipeline()
        videos = [
            self._pipeline(prompt, seed=seed, on_step=lambda step: poll()) for seed, prompt in enumerate(self.prompts)
        ]
        if self.writes:
            with appearing(step_folder(self.run / FOLDER, step)) as folder:
                _write(folder, videos)


def _write(folder: Path, videos: list[Video]) -> None:
    for index, video in enumerate(videos):
        video.save(folder / f"{index}.mp4", metadata=False)  # of weights that will be no more
        shown = np.linspace(0, len(video.frames) - 1, FRAMES_SHOWN).round().astype(int)
        picture = encode_jpeg(rearrange(video.frames[shown], "n h w c -> h (n w) c"))
        (folder / PICTURE.format(index)).write_bytes(picture)


def list_samples(run: Path) -> list[Path]:
    """Folders of samples, oldest first."""
    return step_folders(run / FOLDER)
