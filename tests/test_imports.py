"""Imports without a search for garbage, and without what a process has no use for."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from soradit.imports import quick_imports
from soradit.model.weights import load_text


def test_garbage_is_collected_again_afterwards() -> None:
    assert gc.isenabled()
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()


def test_whoever_collects_none_is_left_alone() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_transformers_models_work_without_compiling_and_sharding(weights: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from soradit.imports import leave_out_compiling_and_sharding
leave_out_compiling_and_sharding()
from soradit.model.weights import load_text
print(load_text(Path({str(weights)!r}))(["sky"])[1].sum().item())
print(*{{"torch._dynamo.symbolic_convert", "torch.distributed.tensor"}} & set(sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    number, left_in = said.split("\n")[:2]
    assert float(number) == load_text(weights)(["sky"])[1].sum().item()
    assert not left_in
