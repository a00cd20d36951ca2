"""How fast clips are read: the reader against bare ffmpeg on the same files, and encoding against reading alone.

    python benchmarks/reading.py [--data CLIPS] [--repeats 5]

Without --data it makes clips of moving noise and gradients, H.264, 256x256 and 640x360. Everything is measured in
turns, because machines are shared: a round runs each once, and the table shows the median of the rounds' ratios.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import torch
from machine import describe_run, markdown_heading, markdown_table

from soradit.media.clips import VIDEO_SUFFIXES
from soradit.media.reading import Reading, read_segments
from soradit.media.video import iterate_frames
from soradit.media.workers import read_ahead
from soradit.model.autoencoder import to_float
from soradit.model.config import load_generation_config
from soradit.model.folder import find_weights
from soradit.model.weights import load_autoencoder
from soradit.training.reading import training_reading

SIZE = (256, 256)
MADE = {"256x256": "256x256", "640x360": "640x360"}
SECONDS = 20


def make_clips(folder: Path) -> None:
    """Camera-like motion: ffmpeg's test picture, zoomed and panned, with grain."""
    for name, size in MADE.items():
        source = f"testsrc2=s={size}:r=30:d={SECONDS},noise=alls=6:allf=t"
        encode = ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p"]
        run_ffmpeg("-f", "lavfi", "-i", source, *encode, str(folder / f"{name}.mp4"))


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


def by_ffmpeg(path: Path) -> None:
    run_ffmpeg("-i", str(path), "-f", "null", "-")


def by_reader(path: Path) -> None:
    for _ in iterate_frames(path, size=SIZE):
        pass


def by_workers(paths: list[Path], reading: Reading) -> list[torch.Tensor]:
    calls = [(path, reading) for path in paths]
    return [torch.from_numpy(segment) for segments in read_ahead(read_segments, calls) for segment in segments]


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare_with_ffmpeg(paths: list[Path], repeats: int) -> None:
    rows = []
    for path in paths:
        num_frames = sum(1 for _ in iterate_frames(path, size=SIZE))
        rounds = [(seconds_of(partial(by_ffmpeg, path)), seconds_of(partial(by_reader, path))) for _ in range(repeats)]
        ffmpeg, reader = (num_frames / statistics.median(side) for side in zip(*rounds, strict=True))
        ratio = statistics.median(bare / ours for bare, ours in rounds)
        rows.append([path.name, f"{num_frames}", f"{ffmpeg:.0f}", f"{reader:.0f}", f"{ratio:.0%}"])
    columns = ["file", "frames", "ffmpeg, frames/s", "reader to 256x256, frames/s", "reader / ffmpeg"]
    print(markdown_table(columns, rows), end="\n\n")


def compare_with_encoding(paths: list[Path], repeats: int) -> None:
    """What encoding adds: read alone, then read and encoded, as ``soradit encode`` does it, without the cache."""
    weights = find_weights()
    config = load_generation_config(weights)
    reading = training_reading(weights, config, buckets=False, keep_damaged=True)
    autoencoder = load_autoencoder(weights)
    by_workers(paths, reading)  # processes are started

    def encode() -> None:
        with torch.inference_mode():
            for segments in read_ahead(read_segments, [(path, reading) for path in paths]):
                for segment in segments:
                    if not isinstance(segment, str):
                        autoencoder.encode(to_float(torch.from_numpy(segment))[None])

    rounds = [(seconds_of(lambda: by_workers(paths, reading)), seconds_of(encode)) for _ in range(repeats)]
    alone, both = (statistics.median(side) for side in zip(*rounds, strict=True))
    num_frames = sum(len(segment) for segment in by_workers(paths, reading))
    size = f"{config.width}x{config.height} at {config.fps} fps"
    rows = [["read alone", f"{num_frames / alone:.0f}"], ["read and encoded", f"{num_frames / both:.0f}"]]
    print(markdown_table([f"to {size}, two reading processes", "frames/s"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of clips")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch)
        if options.data is None:
            make_clips(folder)
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        print(markdown_heading(describe_run()), end="\n\n")
        compare_with_ffmpeg(paths, options.repeats)
        compare_with_encoding(paths, max(1, options.repeats // 2))


if __name__ == "__main__":  # the reading processes import this file
    main()
