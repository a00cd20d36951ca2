"""``soradit`` and ``python -m soradit``: run a command, and end with the promised line and exit code."""

import ctypes
import gc
import os
import re
import sys
from typing import Any

from soradit.errors import INTERRUPTED, SoraditError, StateSaved

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""As glibc's malloc.h numbers them."""


def main() -> None:
    _keep_standard_streams()
    keep_freed_memory()
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # our processes import nothing from the folder that we are called in
    try:
        sys.exit(_run())
    except SoraditError as error:
        if not isinstance(error, StateSaved) or os.environ.get("RANK", "0") == "0":  # processes agree on that one
            _say(f"soradit: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("soradit: interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError as error:
        _say(f"soradit: out of memory{f' ({error})' if str(error) else ''}: use fewer frames, or a smaller size")
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
        if match := UNREADABLE.fullmatch(said):
            raise SoraditError(f"{match[1]}: may not be read") from None
        if said.startswith("Usage:"):  # nothing was asked for: the whole help
            error.show()
        else:
            said = _in_our_words(said).rstrip(".?").removeprefix("Invalid value: ")
            _say(f"soradit: {said}; see {error.ctx.command_path if error.ctx else _command()} --help")
        return error.exit_code
    if code == INTERRUPTED:  # as typer gives an interrupt on
        raise KeyboardInterrupt
    return code


def _command() -> str:
    """What was called, where an error doesn't say."""
    return " ".join(["soradit", *(word for word in sys.argv[1:2] if not word.startswith("-"))])


NUMBERS = {"int": "a whole number", "integer": "a whole number", "float": "a number"}
NO_NUMBER = re.compile(r"Invalid value for '([^']+)'.*: ('.*') is not a valid (int|integer|float)(?: range)?\.")
UNREADABLE = re.compile(r"Invalid value for '.+': \w+ '(.+)' is not readable\.")
OUT_OF_RANGE = re.compile(r"Invalid value for '([^']+)': (\S+) is not in the range (?:(\S+)<=)?x(?:>=(\S+)|<=(\S+))\.")


def _in_our_words(said: str) -> str:
    """typer names types and inequalities ("'many' is not a valid int range"); a person wants to know what to give."""
    if match := NO_NUMBER.fullmatch(said):
        option, value, kind = match.groups()
        return f"{option} takes {NUMBERS[kind]}, not {value}"
    if match := OUT_OF_RANGE.fullmatch(said):
        option, value, low, least, high = match.groups()
        return f"{option} must be {f'{least} or more' if least else f'from {low} to {high}'}, not {value}"
    return said


def _keep_standard_streams() -> None:
    """A standard stream that was closed leads nowhere, instead of to the next file that is opened."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
            setattr(sys, name, open(nowhere, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what is allocated next, unless the environment tunes glibc itself.

    Layer after layer takes and gives back as much memory. To get it from the system each time, cleared page by page,
    was 7 and 14 % of a prediction's time on two machines (docs/performance.md).
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None and any(mallopt(MMAP_THRESHOLD, size) for size in (2**30, 2**25)):  # older ones allow less
        mallopt(TRIM_THRESHOLD, -1)


def _say(text: str) -> None:
    from soradit.console import write_line

    write_line(text)


if __name__ == "__main__":
    main()
