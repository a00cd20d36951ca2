"""HTML pages that need no other file, no network and no script."""

from html import escape

from soradit.text import visible

# Names and captions are strangers' text: should any escape be forgotten, the page still may load and run nothing.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">{refresh}
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(title: str, style: str, body: str, *, refresh_seconds: int | None = None) -> str:
    """A whole page from a title in plain text, CSS, and HTML; the browser loads it anew every ``refresh_seconds``."""
    refresh = f'\n<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds else ""
    return _PAGE.format(refresh=refresh, title=safe(title), style=style.strip(), body=body)


def safe(text: str) -> str:
    """Plain text as HTML; control characters are shown."""
    return escape(visible(text))
