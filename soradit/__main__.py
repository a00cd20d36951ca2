"""``soradit`` and ``python -m soradit``: run a command, and end with the promised line and exit code."""

import os
import sys

from soradit.errors import SoraditError


def main() -> None:
    from soradit.cli import app

    try:
        app()
    except SoraditError as error:
        _say(f"soradit: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("soradit: interrupted")
        sys.exit(130)
    except BrokenPipeError:  # whoever read our stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, most of all: there is no place that could not meet one
        _say(f"soradit: {error}")
        sys.exit(1)


def _say(text: str) -> None:
    from soradit.console import write_line

    write_line(text)


if __name__ == "__main__":
    main()
