"""The one exception that a person is meant to read, and others in a line."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, of what has no state to save."""


class SoraditError(Exception):
    """A foreseeable failure: one line that says what is wrong, with the values, and what to do.

    The command line prints it to stderr and ends with ``exit_code``; Python callers catch it.
    """

    exit_code = 1


class UsageError(SoraditError):
    """A value that is wrong in itself, as the command line alone shows, whatever the files and the machine."""

    exit_code = 2


class StateSaved(SoraditError):
    """Work stopped on request before its end, and everything done so far is on disk."""

    exit_code = 75


def first_line(error: BaseException) -> str:
    """What an exception of somebody else's says, in one line; its kind when it says nothing."""
    first, *others = (str(error).strip() or type(error).__name__).splitlines()
    return others[0].strip() if others and first.endswith(":") else first  # which is but a heading
