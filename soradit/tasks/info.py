"""``soradit info``: how a video was made; what weights are, and what generating with them takes."""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from soradit.errors import SoraditError, UsageError
from soradit.files import FIRST_FRAME
from soradit.model.config import GenerationConfig, latent_grid, load_autoencoder_config, load_generation_config
from soradit.model.folder import IDENTITY, INDEX, LORA_CONFIG, Hashes, Lora, find_weights, identity, verify


def info(
    what: Path | None = None, *, height: int | None = None, width: int | None = None, num_frames: int | None = None
) -> dict[str, Any]:
    """Facts by name. Raises SoraditError for what is neither a video made by soradit nor a whole folder of weights."""
    if what is not None and (what.is_file() or (what / FIRST_FRAME).is_file()):
        from soradit.media.tags import read_about

        if (height, width, num_frames) != (None, None, None):
            raise UsageError(f"{what} is a video: --size and --frames are for weights")
        return read_about(what)
    if what is not None and (what / LORA_CONFIG).is_file():
        return _about_lora(what)
    if what is not None and what.suffix and not what.exists():
        raise SoraditError(f"{what}: no such file")
    if what is not None and what.is_dir() and not (what / INDEX).is_file():
        raise SoraditError(
            f"{what} is a folder, neither of weights (it has no {INDEX}) nor of LoRA (no {LORA_CONFIG}) nor of one "
            f"video's frames (no {FIRST_FRAME}): name a video in it"
        )
    folder = find_weights(what)
    own, token_size = load_generation_config(folder), load_autoencoder_config(folder).token_size
    settings = own.with_overrides(height=height, width=width, num_frames=num_frames)
    latent_grid(settings, token_size, window=own.window(token_size[0]))
    hashes = verify(folder)
    facts: dict[str, Any] = {"weights": identity(hashes), "folder": str(folder)}
    facts |= {f"{name}_parameters": count_parameters(folder / name) for name in IDENTITY if name != "tokenizer"}
    return facts | _costs(folder, settings, hashes)


def _about_lora(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError

    from soradit.model.lora import trained_on

    try:
        facts: dict[str, Any] = {"lora": Lora(folder).fingerprint, "folder": str(folder)}
        facts["rank"] = json.loads((folder / LORA_CONFIG).read_text(encoding="utf-8"))["r"]
        return facts | {"parameters": count_parameters(folder), "trained_on": trained_on(folder)}
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise SoraditError(f"LoRA {folder} is damaged ({error}): copy it again") from error


def count_parameters(component: Path) -> int:
    """As the headers of its model's safetensors files say: 8 bytes of length, then JSON with each tensor's shape."""
    total = 0
    for path in component.glob("*model*.safetensors"):
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, MemoryError) as error:
            raise SoraditError(f"{path} is damaged ({error}): copy the weights again") from error
    return total


def _costs(folder: Path, settings: GenerationConfig, hashes: Hashes) -> dict[str, Any]:
    """What a video takes, in float32 on a CPU: tokens, operations, memory."""
    import torch

    from soradit.diffusion.process import timestep_grid
    from soradit.model.cost import num_bytes
    from soradit.model.slices import slices
    from soradit.pipeline import Pipeline
    from soradit.video import Request

    pipeline = Pipeline.load(folder, device="cpu", precision="float32", hashes=hashes)
    grid = pipeline.grid(Request(prompt="", settings=settings))
    text, pooled = pipeline.text_encoder([""])
    transformer, autoencoder = pipeline.transformer.to("meta"), pipeline.autoencoder.to("meta")
    windows, parts = pipeline.windows(grid[0]), slices(autoencoder, grid[0])
    latents = torch.empty(1, *grid, autoencoder.config.latent_channels, device="meta")
    both = 1 if settings.guidance == 1 else 2  # with the prompt, and without
    times = timestep_grid(settings.steps, settings.shift, settings.spread)[:-1]
    guided = (times >= settings.guidance_from) & (times < settings.guidance_until)
    predictions = settings.steps + (int(guided.sum()) if both == 2 else 0)

    def predict(length: int) -> torch.Tensor:
        x = latents[:, :length].expand(both, -1, -1, -1, -1)
        words, pool = text.to("meta").expand(both, -1, -1), pooled.to("meta").expand(both, -1)
        return transformer(x, torch.empty(both), words, pool)

    def decode(length: int, first: int, last: int) -> torch.Tensor:
        return autoencoder.decode(latents[:, :length], slice(first, last))

    predicting = _cost_of_each(predict, [(window.stop - window.start,) for window in windows])
    decoding = _cost_of_each(decode, [(part.stop - part.start, part.shown.start, part.shown.stop) for part in parts])
    weights = num_bytes(transformer.parameters()) + num_bytes(autoencoder.parameters())
    frames = settings.num_frames * settings.height * settings.width * 3
    return {
        "video": f"{settings.width}x{settings.height}, {settings.num_frames} frames, {settings.steps} steps",
        "tokens": math.prod(grid),
        "tokens_at_once": math.prod((windows[0].stop, *grid[1:])),
        "tflop_denoising": round(predictions * sum(flops for flops, _ in predicting) / both / 1e12, 3),
        "tflop_decoding": round(sum(flops for flops, _ in decoding) / 1e12, 3),
        "megabytes": round((weights + frames + max(peak for _, peak in predicting + decoding)) / 1e6),
    }


def _cost_of_each(compute: Callable[..., Any], parts: Sequence[tuple[int, ...]]) -> list[tuple[float, int]]:
    """Operations and peak memory of each part in time; those of one size are computed once."""
    from soradit.model.cost import cost

    of_size = cache(partial(cost, compute))
    return [of_size(*part) for part in parts]
