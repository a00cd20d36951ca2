"""Clips and captions that a cache lacks -> latents and text embeddings in it. Step 3, and the text of step 5."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.media.decoding import Unreadable
from soradit.media.mirror import mirror_frames
from soradit.media.reading import TooShort, read_segments
from soradit.media.workers import read_ahead
from soradit.model.autoencoder import Autoencoder, to_float
from soradit.model.weights import load_autoencoder, load_text
from soradit.report import Progress, Report
from soradit.training.cache import Cache, latents_name, save_latents, save_text, text_name
from soradit.training.contents import content_hash, is_content_known, keep_contents, recall_contents
from soradit.training.tensor_store import TensorStore, share_out


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Into a cache, with the autoencoder and text encoder of ``weights``; several processes may share the work.

    In float32, whatever is trained in: a cache serves all trainings to come.
    It may be ended at any moment: what is encoded stays encoded.
    """

    cache: Cache
    weights: Path
    device: torch.device
    report: Report

    def encode_clips(self, clips: list[Clip]) -> dict[Clip, SoraditError]:
        """Encode the clips that are missing; return those that are left out, and why."""
        left_out: dict[Clip, SoraditError] = {}
        by_content = self._by_content(clips, left_out)
        with TensorStore(self.cache.latents_folder) as store:
            missing = [name for name in by_content if not store.find(name)]
            failed = self._encode_missing({name: by_content[name][0] for name in missing}, store) if missing else {}
            for name, same in by_content.items():
                entry = store.find(name)
                if entry and entry.damage and not self.cache.reading.keep_damaged:
                    failed[name] = Unreadable(f"{same[0].path}: {entry.damage}")
                if name in failed:
                    left_out |= dict.fromkeys(same, failed[name])
        for reason in dict.fromkeys(map(str, left_out.values())):  # a clip and its mirror image have the same
            self.report.note(f"left out: {reason}")
        return left_out

    def encode_captions(self, clips: list[Clip]) -> None:
        """Embed every clip's captions, and the empty prompt."""
        wanted = {text_name(captions): captions for captions in [("",), *(clip.captions for clip in clips)]}
        with TensorStore(self.cache.text_folder) as store:
            missing = sorted(name for name in wanted if not store.find(name))
            if not missing:
                return
            text_encoder = load_text(self.weights).to(self.device)
            with self.report.progress("embedding captions", len(missing)) as progress, torch.inference_mode():
                embedded: list[str] = []

                def embed(names: Iterable[str]) -> None:
                    for name in names:
                        save_text(store, wanted[name], *text_encoder(wanted[name]))
                        store.release(name)
                        embedded.append(name)

                share_out(
                    missing,
                    store,
                    embed,
                    tell=lambda: progress.update(len(embedded)),
                    found=embedded.append,
                )

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

    def _encode_missing(self, missing: dict[str, Clip], store: TensorStore) -> dict[str, SoraditError]:
        """Encode clips by their content's name; return why the others can't be."""
        failed: dict[str, SoraditError] = {}
        autoencoder = load_autoencoder(self.weights).to(self.device)
        with self.report.progress("encoding clips", len(missing)) as progress, torch.inference_mode():
            pace = _Pace(progress)

            def encode_them(names: Iterable[str]) -> None:
                ours: deque[str] = deque()

                def calls() -> Iterator[tuple]:
                    for name in names:
                        ours.append(name)
                        yield missing[name].path, self.cache.reading

                for segments in read_ahead(read_segments, calls(), while_waiting=pace.tell):
                    name = ours.popleft()
                    if error := self._encode_clip(name, missing[name], segments, autoencoder, store, pace):
                        failed[name] = error
                    store.release(name)
                    pace.add_clip()

            share_out(list(missing), store, encode_them, tell=pace.tell, found=lambda name: pace.add_clip())
        return failed

    def _encode_clip(
        self, name: str, clip: Clip, segments: Iterator, autoencoder: Autoencoder, store: TensorStore, pace: "_Pace"
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
        save_latents(store, name, latents, damage=damage)
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
