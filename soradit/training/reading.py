"""How clips are read to train on: the weights say by what size of a token. Needs no torch."""

from pathlib import Path

from soradit.media.reading import Reading
from soradit.model.config import GenerationConfig, latent_grid, load_autoencoder_config

SEGMENT_FRAMES = 128
"""Longer clips are encoded in pieces of at most this many frames, to bound memory."""


def training_reading(weights: Path, config: GenerationConfig, *, buckets: bool, keep_damaged: bool) -> Reading:
    """How clips are read to train on; raises SoraditError for a size that is not a whole number of tokens."""
    token_size = load_autoencoder_config(weights).token_size
    latent_grid(config, token_size)
    return Reading(
        height=config.height,
        width=config.width,
        fps=config.fps,
        token_size=token_size,
        max_segment_frames=SEGMENT_FRAMES,
        buckets=buckets,
        keep_damaged=keep_damaged,
    )
