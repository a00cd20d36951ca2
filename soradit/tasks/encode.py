"""``soradit encode``: clips and captions -> cached latents and text embeddings."""

import gc
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from soradit.device import autocast, choose_device, choose_precision
from soradit.errors import SoraditError
from soradit.media.clips import Clip, find_clips, segments
from soradit.media.video import read_video
from soradit.model.autoencoder import Autoencoder, to_float
from soradit.model.weights import (
    GenerationConfig,
    encoder_fingerprint,
    find_weights,
    fingerprint,
    latent_grid,
    load_autoencoder,
    load_generation_config,
    load_text,
)
from soradit.report import Report
from soradit.training.cache import Cache, save_latents, save_text

CACHE_NAME = ".soradit-cache"
SEGMENT_FRAMES = 128
"""Longer clips are encoded in pieces of at most this many frames, to bound memory."""
MAX_BAD_SHARE = 0.1


class TooShort(SoraditError):
    """A clip with fewer frames than a token covers: of no use, but no sign of trouble either."""


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
    device: str = "auto",
    precision: str = "auto",
    report: Report | None = None,
) -> EncodeSummary:
    """Encode what the cache does not hold yet, with the ``weights``' autoencoder and text encoder.

    Clips are read at ``config``'s size and fps; ``captions=False`` leaves their captions alone. A clip that is too
    short or can't be read is named and left out; raises SoraditError when more than a tenth can't be read, or for a
    size, cache or weights that can't be used.
    """
    report = report or Report()
    latent_grid(config, load_autoencoder(weights).config.token_size)
    _require_writable(cache_folder)
    cache = Cache(
        folder=cache_folder,
        encoder=encoder_fingerprint(weights),
        text_encoder=fingerprint(weights, "text_encoder", "tokenizer"),
        height=config.height,
        width=config.width,
        fps=config.fps,
    )
    chosen = choose_device(device)
    if captions:
        _encode_captions(clips, cache, weights=weights, device=chosen, report=report)
    with autocast(chosen, choose_precision(precision, chosen)), torch.inference_mode():
        left_out = _encode_clips(clips, cache, weights=weights, device=chosen, report=report)
    bad = [error for error in left_out.values() if not isinstance(error, TooShort)]
    if len(bad) > MAX_BAD_SHARE * len(clips):
        raise SoraditError(f"{len(bad)} of {len(clips)} clips can't be used; the first: {bad[0]}")
    return EncodeSummary(cache=cache, clips=[clip for clip in clips if clip not in left_out])


def _encode_captions(clips: list[Clip], cache: Cache, *, weights: Path, device: torch.device, report: Report) -> None:
    """Embed every clip's captions, and the empty prompt."""
    wanted = {("",), *(clip.captions for clip in clips)}
    missing = sorted(captions for captions in wanted if not cache.text_path(captions).is_file())
    if not missing:
        return
    text_encoder = load_text(weights).to(device)
    with report.progress("embedding captions", len(missing)) as progress, torch.inference_mode():
        for done, captions in enumerate(missing, 1):
            save_text(cache.text_path(captions), *text_encoder(captions))
            progress.update(done)


def _encode_clips(
    clips: list[Clip], cache: Cache, *, weights: Path, device: torch.device, report: Report
) -> dict[Clip, SoraditError]:
    """Encode the clips that are missing; return those that are left out, and why."""
    left_out: dict[Clip, SoraditError] = {}

    def leave_out(clip: Clip, error: SoraditError) -> None:
        left_out[clip] = error
        report.note(f"left out: {error}")

    missing: list[Clip] = []
    for clip in clips:
        try:
            if not cache.latents_path(clip).is_file():
                missing.append(clip)
        except SoraditError as error:
            leave_out(clip, error)
    if not missing:
        return left_out
    autoencoder = load_autoencoder(weights).to(device)
    frames_done = 0
    gc.freeze()  # imageio collects garbage after every clip: it need not look through all of torch each time
    with report.progress("encoding clips", len(missing)) as progress:
        for done, clip in enumerate(missing, 1):
            try:
                frames, _ = read_video(clip.path, fps=cache.fps, size=(cache.height, cache.width))
                save_latents(cache.latents_path(clip), _encode_frames(autoencoder, torch.from_numpy(frames), clip))
                frames_done += len(frames)
            except SoraditError as error:
                leave_out(clip, error)
            progress.update(done, f"{frames_done} frames")
    return left_out


def _encode_frames(autoencoder: Autoencoder, frames: torch.Tensor, clip: Clip) -> list[torch.Tensor]:
    """uint8 frames (T, H, W, 3) -> latents (t, h, w, c), one tensor a segment. Raises TooShort."""
    patch_frames = autoencoder.config.token_size[0]
    parts = segments(len(frames), window_frames=patch_frames, max_segment_frames=SEGMENT_FRAMES)
    if not parts:
        raise TooShort(f"{clip.path} has {len(frames)} frames at this fps, {patch_frames} are the least")
    device = autoencoder.latent_mean.device
    encoded = []
    for part in parts:
        video = to_float(frames[part.start : part.stop].to(device))
        encoded.append(rearrange(autoencoder.encode(video[None]), "1 t h w c -> t h w c"))
    return encoded


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(f"can't write the cache {folder} ({error.strerror}): choose another with --cache") from error
    if not os.access(folder, os.W_OK):
        raise SoraditError(f"the cache {folder} is not writable: choose another with --cache")


def encode_folder(
    folder: Path,
    *,
    weights: str | None,
    overrides: dict[str, int | None],
    cache_folder: Path | None,
    device: str,
    precision: str,
    report: Report,
) -> Path:
    """Encode a folder of clips with a folder of weights, and return the cache's folder.

    ``overrides`` are the height, width and fps to read at, where they are not the weights' own.
    """
    source = find_weights(weights)
    target = cache_folder or folder / CACHE_NAME
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    encode(
        find_clips(folder),
        weights=source,
        config=replace(load_generation_config(source), **given),
        cache_folder=target,
        device=device,
        precision=precision,
        report=report,
    )
    return target
