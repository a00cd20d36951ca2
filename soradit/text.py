"""Text for people's eyes."""


def visible(text: str) -> str:
    """Text with its control characters, and whatever else has no shape of its own, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
