"""The one place that decides device and precision."""

from contextlib import AbstractContextManager, nullcontext

import torch

from soradit.errors import SoraditError, UsageError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_TOKENS_WRITTEN_OUT = 1024
"""The most, of a video and its prompt together, for which attention is written out."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes the first of cuda, mps, cpu that is there; raises SoraditError for one that isn't."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # which "meta" can't say
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SoraditError(f"device {name} is not available here: use --device auto, or cpu") from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto`` takes what the device is fast at: bfloat16 where it has hardware for it, else float32."""
    if name == "auto":
        return torch.bfloat16 if _fast_at_bfloat16(device) else torch.float32
    if name not in PRECISIONS:
        raise UsageError(f"precision {name} is not known: use auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def name_of(precision: torch.dtype) -> str:
    """``float32``, as ``choose_precision`` takes it."""
    return str(precision).removeprefix("torch.")


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Matrix products in ``precision``, the rest in float32."""
    if precision is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the CPU, in memory that a GPU can copy from on its own, while we go on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def is_faster_written_out(device: torch.device, tokens: int) -> bool:
    """Whether attention over so many tokens is trained faster as products and a softmax than by torch's fused one.

    In bfloat16 on a CPU it is, since the fused one's way back makes no use of hardware for it. Written out, it takes
    memory by the square of the tokens.
    """
    return device.type == "cpu" and torch.is_autocast_enabled("cpu") and tokens <= MAX_TOKENS_WRITTEN_OUT


def is_out_of_memory(error: Exception) -> bool:
    """Python and CUDA have classes for it; MPS, cuBLAS and the CPU's allocators only say so."""
    said = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in said for words in OUT_OF_MEMORY)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _fast_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # emulated, bfloat16 is hundreds of times slower than float32
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
