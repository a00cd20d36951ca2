"""The documentation is run, or compared with what generates it."""

import importlib.util
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from soradit.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "weights/skies/README.md", *ROOT.glob("docs/*.md")])


def load_builder():
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_current():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert page == load_builder().cli_page(), "run: python docs/build.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands_in_docs() -> list[tuple[str, str]]:
    """Every ``soradit ...`` line in a shell block, with the page that it stands on."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, part) for line in lines for part in re.findall(r"soradit [^&|#;]+", line)]
    return found


@pytest.mark.parametrize(("page", "line"), commands_in_docs())
def test_documented_options_exist(page: str, line: str):
    """Each documented command parses: its name and its options are known."""
    name, *rest = line.split()[1:]
    if name.startswith("-"):
        return
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, f"{page}: soradit {name} is not a command"
    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(rest)):
        assert option in result.output, f"{page}: soradit {name} has no {option}"


def python_in_docs() -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]


@pytest.mark.parametrize(("page", "code"), python_in_docs(), ids=[page for page, _ in python_in_docs()])
def test_documented_python_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {})
