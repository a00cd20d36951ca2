"""The commands of docs/generating.md and docs/batch.md are run, with the tests' tiny weights as the bundled ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def commands(weights: Path, tmp_path: Path) -> dict[str, str]:
    """An environment whose ``soradit`` is this checkout's, with the tests' weights."""
    program = tmp_path / "bin" / "soradit"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib\n"
        "from soradit.model import folder\n"
        f"folder.bundled_weights = lambda: pathlib.Path({str(weights)!r})\n"
        "from soradit.__main__ import main\n"
        "main()\n"
    )
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def run_page(name: str, folder: Path, environment: dict[str, str]) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    folder.mkdir()
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_generating(commands: dict[str, str], tmp_path: Path) -> None:
    run_page("generating.md", tmp_path / "page", commands)
    made = {path.name for path in (tmp_path / "page").iterdir()}
    assert {"sunset.mp4", "sunset.gif", "sunset.webp", "sunset.png", "sheet.png", "long.mp4", "longer.mp4"} <= made


@pytest.mark.slow
def test_batch(commands: dict[str, str], tmp_path: Path) -> None:
    run_page("batch.md", tmp_path / "page", commands)
    page = tmp_path / "page"
    assert len((page / "made.jsonl").read_text().splitlines()) == 4
    assert (page / "storm.mp4").is_file()
    assert len(list(page.glob("clouds-*.mp4"))) == 3
    assert len(list((page / "videos").glob("*.mp4"))) == 3 * 3
    assert not list(page.rglob("*.part"))
