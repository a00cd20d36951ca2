"""``soradit encode``: clips and captions -> cached latents and text embeddings."""

import os
from dataclasses import dataclass
from pathlib import Path

from soradit.device import choose_device
from soradit.errors import SoraditError, StateSaved
from soradit.media.clips import Clip, find_clips
from soradit.media.mirror import mirror_clip
from soradit.media.reading import TooShort
from soradit.model.config import GenerationConfig, load_generation_config
from soradit.model.folder import TEXT_PARTS, find_weights, fingerprint
from soradit.model.weights import encoder_fingerprint
from soradit.report import Report
from soradit.training.cache import Cache, segments_of
from soradit.training.encoding import Encoding
from soradit.training.guard import memory_guard
from soradit.training.intact import MAX_BAD_SHARE, require_few_bad
from soradit.training.reading import training_reading
from soradit.training.stop import Stop, Stoppable, StopRequested
from soradit.training.tensor_store import INDEX, TensorStore

CACHE_NAME = ".soradit-cache"


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
    report: Report,
) -> Path:
    """Encode a folder of clips with a folder of weights, and return the cache's folder.

    ``overrides`` are the height, width and fps to read at, where they are not the weights' own; with ``flip`` each
    clip's mirror image is encoded, too.
    """
    source = find_weights(weights)
    target = cache_folder or folder / CACHE_NAME
    clips, config = find_clips(folder), load_generation_config(source).with_overrides(**overrides)
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
                report=Stoppable(report, stop),
            )
        except StopRequested as reason:
            raise StateSaved(f"{reason}: what was encoded is kept in {target}; run again to go on") from None
    _tell_of_short(encoded, len(clips), config, report)
    return target


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
        text_encoder=fingerprint(weights, *TEXT_PARTS),
        reading=reading,
    )
    encoding = Encoding(cache=cache, weights=weights, device=choose_device(device), report=report)
    with memory_guard(lambda: "use a smaller --size, or --device cpu"):
        left_out = encoding.encode_clips(clips)
        if captions:  # last, because transformers stays in memory
            encoding.encode_captions(clips)
    bad = {clip.path: error for clip, error in left_out.items() if not isinstance(error, TooShort)}
    require_few_bad(list(bad.values()), len({clip.path for clip in clips}), max_bad)
    return EncodeSummary(cache=cache, clips=[clip for clip in clips if clip not in left_out])


def verify(cache_folder: Path, report: Report | None = None) -> int:
    """Read a whole cache again, against its indexes; return how many files it holds.

    Raises SoraditError when files are damaged or missing, which it names in the report and takes out.
    """
    report = report or Report()
    folders = sorted(path.parent for path in cache_folder.glob(f"*/*/{INDEX}"))
    if not folders:
        raise SoraditError(f"{cache_folder}: holds no cache; encode without --verify first")
    wrong, total = [], 0
    for folder in folders:
        with TensorStore(folder) as store:
            total += len(store.indexed())
            wrong += [store.path(name) for name in store.verify()]
    for path in wrong:
        report.note(f"damaged or missing: {path}")
    if wrong:
        raise SoraditError(f"{len(wrong)} of {total} files of {cache_folder} were damaged, and are out: encode again")
    return total


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(
            f"can't write the cache {folder} ({error.strerror}): choose another (encode -o, train --cache)"
        ) from error
    if not os.access(folder, os.W_OK):
        raise SoraditError(f"the cache {folder} is not writable: choose another (encode -o, train --cache)")


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
