"""What a trained network sees in frames: the features that distances are measured in."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soradit.errors import SoraditError, first_line
from soradit.evaluation.config import DEFAULT, NONE
from soradit.model.lite0 import SHA256, Lite0

_LITE0_SIZE = 224
FRAMES_AT_ONCE = 32
"""Each takes 16 MB on its way through the network, and a clip may have thousands."""


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """A named network, and the hash that tells whether another's numbers were measured with the same one."""

    name: str
    sha256: str
    forward: Callable[[UInt8[np.ndarray, "n h w 3"]], Tensor]

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """Features of RGB frames, float32."""
        pieces = (frames[first : first + FRAMES_AT_ONCE] for first in range(0, len(frames), FRAMES_AT_ONCE))
        return np.concatenate([self.forward(piece).float().cpu().numpy() for piece in pieces])


def load_network(name: str, device: torch.device) -> FeatureNetwork:
    """``efficientnet-lite0``, or a vision network of transformers by folder or hub name.

    Raises SoraditError when it is not installed, damaged or no vision network.
    """
    return _load_lite0(device) if name == DEFAULT else _load_from_transformers(name, device)


def _load_lite0(device: torch.device) -> FeatureNetwork:
    """EfficientNet-Lite0 trained on ImageNet: its last block, averaged over the picture, 320 numbers a frame.

    The 1280 numbers of its head would need more clips than most folders hold for a covariance worth the name.
    """
    try:
        network = Lite0().to(device)
    except SoraditError as error:
        other = f"give another by --features, or leave distances out with --features {NONE}"
        raise SoraditError(f"{error}; or {other}") from error

    def forward(frames: np.ndarray) -> Tensor:
        x = rearrange(torch.from_numpy(frames).to(device), "n h w c -> n c h w").float()
        x = nn.functional.interpolate(x, size=(_LITE0_SIZE, _LITE0_SIZE), mode="bilinear", antialias=True)
        last = deque(network.stages(x), maxlen=1).pop()  # without keeping the others
        return reduce(last, "n d h w -> n d", "mean")

    return FeatureNetwork(name=DEFAULT, sha256=SHA256, forward=forward)


def _load_from_transformers(name: str, device: torch.device) -> FeatureNetwork:
    from transformers import AutoImageProcessor, AutoModel

    try:
        processor = AutoImageProcessor.from_pretrained(name)
        model = AutoModel.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError, ImportError) as error:
        raise SoraditError(f"--features {name} can't be loaded as a vision network: {first_line(error)}") from error
    model = getattr(model, "vision_model", model).to(device).eval()  # of CLIP and its kin, the half that sees

    def forward(frames: np.ndarray) -> Tensor:
        seen = model(processor(list(frames), return_tensors="pt")["pixel_values"].to(device))
        pooled = getattr(seen, "pooler_output", None)
        return pooled.flatten(1) if pooled is not None else _pool(seen.last_hidden_state)

    return FeatureNetwork(name=name, sha256=_hash_of(model), forward=forward)


def _pool(hidden: Tensor) -> Tensor:
    """Average over tokens (n, tokens, d) or places (n, d, h, w)."""
    return hidden.mean(1) if hidden.ndim == 3 else reduce(hidden, "n d h w -> n d", "mean")


def _hash_of(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
