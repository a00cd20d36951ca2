"""``soradit encode``: clips and captions -> cached latents and text embeddings."""

import ctypes
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from soradit.device import autocast, choose_device, choose_precision
from soradit.errors import SoraditError, StateSaved
from soradit.media.clips import Clip, find_clips
from soradit.media.decoding import Unreadable
from soradit.media.mirror import mirror_clip, mirror_frames
from soradit.media.reading import TooShort, read_segments
from soradit.media.workers import read_ahead
from soradit.model.autoencoder import Autoencoder, to_float
from soradit.model.folder import find_weights, fingerprint
from soradit.model.weights import (
    GenerationConfig,
    encoder_fingerprint,
    load_autoencoder,
    load_generation_config,
    load_text,
)
from soradit.report import Progress, Report
from soradit.training.cache import Cache, latents_name, save_latents, save_text, segments_of, text_name
from soradit.training.contents import content_hash, is_content_known, keep_contents, recall_contents
from soradit.training.reading import training_reading
from soradit.training.shards import INDEX, Shards, share
from soradit.training.sound import MAX_BAD_SHARE, require_few_bad
from soradit.training.stop import Stop, Stoppable, StopRequested

CACHE_NAME = ".soradit-cache"
_M_MMAP_THRESHOLD = -3  # of mallopt(3)


@dataclass(frozen=True, kw_only=True)
class EncodeSummary:
    cache: Cache
    clips: list[Clip]
    """Those that can be trained on; the others were named in the report."""


def encode(
    clips: list[Clip],
    *,
    weights: Path,
    config: GenerationConfig,
    cache_folder: Path,
    captions: bool = True,
    buckets: bool = False,
    keep_damaged: bool = False,
    max_bad: float = MAX_BAD_SHARE,
    device: str = "auto",
    precision: str = "auto",
    report: Report | None = None,
) -> EncodeSummary:
    """Encode what the cache does not hold yet, with the ``weights``' autoencoder and text encoder.

    Clips are read at ``config``'s size and fps, or with ``buckets`` each in a shape of its own of about that size;
    ``captions=False`` leaves their captions alone. A clip that is too short or can't be read is named and left out;
    with ``keep_damaged`` a damaged one is used up to the damage.

    Raises SoraditError when more than ``max_bad`` (a share) can't be read, or for a size, cache or weights that can't
    be used. It may be ended at any moment: what is encoded stays encoded. The report hears of it a few times a second.
    """
    report = report or Report()
    reading = training_reading(weights, config, buckets=buckets, keep_damaged=keep_damaged)
    _require_writable(cache_folder)
    cache = Cache(
        folder=cache_folder,
        encoder=encoder_fingerprint(weights),
        text_encoder=fingerprint(weights, "text_encoder", "tokenizer"),
        reading=reading,
    )
    chosen = choose_device(device)
    encoding = _Encoding(cache=cache, weights=weights, device=chosen, report=report)
    with autocast(chosen, choose_precision(precision, chosen)), torch.inference_mode():
        left_out = encoding.clips(clips)
    if captions:  # last, because transformers stays in memory
        encoding.captions(clips)
    bad = {clip.path: error for clip, error in left_out.items() if not isinstance(error, TooShort)}
    require_few_bad(list(bad.values()), len({clip.path for clip in clips}), max_bad)
    return EncodeSummary(cache=cache, clips=[clip for clip in clips if clip not in left_out])


@dataclass(frozen=True, kw_only=True)
class _Encoding:
    """What every step of encoding needs."""

    cache: Cache
    weights: Path
    device: torch.device
    report: Report

    def captions(self, clips: list[Clip]) -> None:
        """Embed every clip's captions, and the empty prompt."""
        wanted = {text_name(captions): captions for captions in [("",), *(clip.captions for clip in clips)]}
        with Shards(self.cache.text_folder) as shards:
            missing = sorted(name for name in wanted if not shards.find(name))
            if not missing:
                return
            text_encoder = load_text(self.weights).to(self.device)
            with self.report.progress("embedding captions", len(missing)) as progress, torch.inference_mode():
                embedded: list[str] = []

                def embed(names: Iterable[str]) -> None:
                    for name in names:
                        save_text(shards, wanted[name], *text_encoder(wanted[name]))
                        shards.release(name)
                        embedded.append(name)

                share(missing, shards, embed, lambda: progress.update(len(embedded)))

    def clips(self, clips: list[Clip]) -> dict[Clip, SoraditError]:
        """Encode the clips that are missing; return those that are left out, and why."""
        left_out: dict[Clip, SoraditError] = {}
        by_content = self._by_content(clips, left_out)
        with Shards(self.cache.latents_folder) as shards:
            missing = [name for name in by_content if not shards.find(name)]
            failed = self._encode_missing({name: by_content[name][0] for name in missing}, shards) if missing else {}
            for name, same in by_content.items():
                entry = shards.find(name)
                if entry and entry.damage and not self.cache.reading.keep_damaged:
                    failed[name] = Unreadable(f"{same[0].path}: {entry.damage}")
                if name in failed:
                    left_out |= dict.fromkeys(same, failed[name])
        for reason in dict.fromkeys(map(str, left_out.values())):  # a clip and its mirror image have the same
            self.report.note(f"left out: {reason}")
        return left_out

    def _by_content(self, clips: list[Clip], left_out: dict[Clip, SoraditError]) -> dict[str, list[Clip]]:
        """The clips, those with the same content together."""
        recall_contents(self.cache.folder)
        paths = list(dict.fromkeys(clip.path for clip in clips))
        self._read_contents([path for path in paths if not is_content_known(path)])
        by_content: dict[str, list[Clip]] = {}
        for clip in clips:
            try:
                by_content.setdefault(latents_name(clip), []).append(clip)
            except SoraditError as error:
                left_out[clip] = error
        keep_contents(self.cache.folder, paths)
        return by_content

    def _read_contents(self, paths: list[Path]) -> None:
        if paths:
            with self.report.progress("looking at clips", len(paths)) as progress:
                for done, path in enumerate(paths, 1):
                    with suppress(SoraditError):  # named when the clips are gone through
                        content_hash(path)
                    progress.update(done)

    def _encode_missing(self, missing: dict[str, Clip], shards: Shards) -> dict[str, SoraditError]:
        """Encode clips by their content's name; return why the others can't be."""
        failed: dict[str, SoraditError] = {}
        autoencoder = load_autoencoder(self.weights).to(self.device)
        with self.report.progress("encoding clips", len(missing)) as progress:
            pace = _Pace(progress)

            def encode_them(names: Iterable[str]) -> None:
                ours: deque[str] = deque()

                def calls() -> Iterator[tuple]:
                    for name in names:
                        ours.append(name)
                        yield missing[name].path, self.cache.reading

                for segments in read_ahead(read_segments, calls(), while_waiting=pace.tell):
                    name = ours.popleft()
                    if error := self._encode_clip(name, missing[name], segments, autoencoder, shards, pace):
                        failed[name] = error
                    shards.release(name)
                    pace.add_clip()

            share(list(missing), shards, encode_them, pace.tell)
        return failed

    def _encode_clip(
        self, name: str, clip: Clip, segments: Iterator, autoencoder: Autoencoder, shards: Shards, pace: "_Pace"
    ) -> SoraditError | None:
        """Encode a clip's segments as they come, and save them; or return why it can't be."""
        latents, damage = [], None
        try:
            for segment in segments:
                if isinstance(segment, str):
                    damage = segment
                    self.report.note(f"used up to its damage: {clip}: {damage}")
                else:
                    latents.append(_encode_segment(autoencoder, mirror_frames(segment) if clip.mirrored else segment))
                    pace.add_frames(len(segment))
        except (TooShort, Unreadable) as error:
            return error
        save_latents(shards, name, latents, damage=damage)
        return None


class _Pace:
    """Clips and frames that are done, told as frames per second."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.started = time.monotonic()
        self.num_clips = self.num_frames = 0

    def add_frames(self, number: int) -> None:
        self.num_frames += number
        self.tell()

    def add_clip(self) -> None:
        self.num_clips += 1
        self.tell()

    def tell(self) -> None:
        seconds = time.monotonic() - self.started
        self.progress.update(self.num_clips, f"{self.num_frames / max(seconds, 1e-3):.0f} frames/s")


def _encode_segment(autoencoder: Autoencoder, frames: Any) -> torch.Tensor:
    """uint8 frames (T, H, W, 3) -> latents (t, h, w, c), on the CPU."""
    video = to_float(torch.from_numpy(frames).to(autoencoder.latent_mean.device))
    return rearrange(autoencoder.encode(video[None]), "1 t h w c -> t h w c").to(torch.float16).cpu()


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(f"can't write the cache {folder} ({error.strerror}): choose another with --cache") from error
    if not os.access(folder, os.W_OK):
        raise SoraditError(f"the cache {folder} is not writable: choose another with --cache")


def verify(cache_folder: Path, report: Report | None = None) -> int:
    """Read a whole cache again, against its indexes; return how many files it holds.

    Raises SoraditError when files are damaged or missing, which it names in the report and takes out.
    """
    report = report or Report()
    folders = sorted(path.parent for path in cache_folder.glob(f"*/*/{INDEX}"))
    if not folders:
        raise SoraditError(f"{cache_folder}: holds no cache")
    wrong, total = [], 0
    for folder in folders:
        with Shards(folder) as shards:
            total += len(shards.indexed())
            wrong += [shards.path(name) for name in shards.verify()]
    for path in wrong:
        report.note(f"damaged or missing: {path}")
    if wrong:
        raise SoraditError(f"{len(wrong)} of {total} files of {cache_folder} were damaged, and are out: encode again")
    return total


def encode_folder(
    folder: Path,
    *,
    weights: str | None,
    overrides: dict[str, int | None],
    cache_folder: Path | None,
    flip: bool,
    buckets: bool,
    keep_damaged: bool,
    device: str,
    precision: str,
    report: Report,
) -> Path:
    """Encode a folder of clips with a folder of weights, and return the cache's folder.

    ``overrides`` are the height, width and fps to read at, where they are not the weights' own; with ``flip`` each
    clip's mirror image is encoded, too.
    """
    source = find_weights(weights)
    target = cache_folder or folder / CACHE_NAME
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    clips, config = find_clips(folder), replace(load_generation_config(source), **given)
    _return_freed_memory()
    with Stop(target, report=report) as stop:
        try:
            encoded = encode(
                [*clips, *map(mirror_clip, clips)] if flip else clips,
                weights=source,
                config=config,
                cache_folder=target,
                buckets=buckets,
                keep_damaged=keep_damaged,
                device=device,
                precision=precision,
                report=Stoppable(report, stop),
            )
        except StopRequested as reason:
            raise StateSaved(f"{reason}: what was encoded is kept in {target}; run again to go on") from None
    _tell_of_short(encoded, len(clips), config, report)
    return target


def _return_freed_memory() -> None:
    """Let glibc return what large tensors leave to the system at once, where it would keep hundreds of megabytes."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def _tell_of_short(encoded: EncodeSummary, num_clips: int, config: GenerationConfig, report: Report) -> None:
    """Tell of clips that are encoded and still too short for the weights' videos; raises SoraditError where none is."""
    if not encoded.clips:
        raise SoraditError(f"none of {num_clips} clips could be encoded, for the reasons above")
    reading = encoded.cache.reading
    lengths = [
        max(segment.length for segment in segments_of(clip, encoded.cache.latents_path(clip))) * reading.token_size[0]
        for clip in encoded.clips
        if not clip.mirrored
    ]
    short = sum(not reading.drawn_from(length, config.num_frames) for length in lengths)
    if short:
        report.note(
            f"{short} of {len(lengths)} clips are shorter than {config.num_frames} frames at {config.fps} fps: train "
            f"with fewer --frames (the longest has {max(lengths)}), or with --buckets"
        )
