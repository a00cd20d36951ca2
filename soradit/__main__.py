"""``soradit`` and ``python -m soradit``: run a command, and end with the promised line and exit code."""

import gc
import os
import sys
from typing import Any

from soradit.errors import SoraditError

INTERRUPTED = 130


def main() -> None:
    try:
        sys.exit(_run())
    except SoraditError as error:
        _say(f"soradit: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("soradit: interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, most of all: there is no place that could not meet one
        _say(f"soradit: {error}")
        sys.exit(1)
    finally:
        gc.freeze()  # else Python looks for garbage in all that was imported, before it ends: most of a second


def _run() -> int | None:
    """The command's exit code; usage errors are one line here, not typer's four."""
    from typer import BadParameter

    from soradit.cli import app

    UsageError: Any = BadParameter.__base__  # which typer itself does not export
    try:
        code = app(prog_name="soradit", standalone_mode=False)
    except UsageError as error:
        said = error.format_message()
        if said.startswith("Usage:"):  # nothing was asked for: the whole help
            error.show()
        else:
            said = said.rstrip(".?").removeprefix("Invalid value: ")
            _say(f"soradit: {said}; see {error.ctx.command_path if error.ctx else 'soradit'} --help")
        return error.exit_code
    if code == INTERRUPTED:  # as typer gives an interrupt on
        raise KeyboardInterrupt
    return code


def _say(text: str) -> None:
    from soradit.console import write_line

    write_line(text)


if __name__ == "__main__":
    main()
