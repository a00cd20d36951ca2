"""Device and precision are chosen by what is there and what it is fast at."""

import pytest
import torch

from soradit.device import autocast, choose_device, choose_precision, is_out_of_memory
from soradit.errors import SoraditError

CPU = torch.device("cpu")


def test_auto_takes_an_accelerator_where_there_is_one() -> None:
    has_accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (choose_device("auto").type == "cpu") == (not has_accelerator)


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "meta", ""])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(SoraditError, match=f"device {name} is not available here: use --device auto"):
        choose_device(name)


def test_auto_avoids_bfloat16_where_it_is_emulated() -> None:
    has_it = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has_it else torch.float32)


def test_precision_by_name() -> None:
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(SoraditError, match="precision float8 is not known: use auto, float32"):
        choose_precision("float8", CPU)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast_multiplies_in_that_precision(precision: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_every_way_of_running_out_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("a local allocation of names"))
