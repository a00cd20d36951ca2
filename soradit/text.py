"""Text for people's eyes."""


def visible(text: str) -> str:
    """Text with its control characters, and whatever else has no shape of its own, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def in_words(seconds: float) -> str:
    """A duration, roughly: ``90 s``, ``7 min``, ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: int, what: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
