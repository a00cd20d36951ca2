"""The exercise as 14 steps to be shown: what each says, the matrices it draws, and the code that computes them."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

import soradit
from soradit.byhand.exercise import LEARNING_RATE, PROMPT, OnPaper, T, Worked
from soradit.diffusion import sampler
from soradit.errors import SoraditError
from soradit.media.patches import patchify, unpatchify
from soradit.media.video import read_video
from soradit.model.autoencoder import Decoder, Encoder, LinearReLU
from soradit.model.conditioning import Conditioning, Modulation, timestep_embedding
from soradit.model.dit import AdaptiveLayerNorm, Attention, FeedForward, attend, modulate
from soradit.model.text import TextEncoder
