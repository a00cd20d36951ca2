"""A page of pictures with captions: one HTML file that needs no other and runs no script."""

from base64 import b64encode
from dataclasses import dataclass

from soradit.html import page, safe

_STYLE = """
:root { font: 14px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; margin-top: 1rem; }
article { border: 1px solid #8886; border-top: 4px solid #2a7; padding: .75rem; overflow-wrap: anywhere; }
article.trimmed { border-top-color: #c90; }
article.dropped { border-top-color: #d33; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .5rem 0 0; }
div { display: flex; gap: .25rem; }
img { width: 50%; max-width: 12rem; height: auto; object-fit: contain; }
em { opacity: .6; }
"""
_BODY = """<h1>{title}</h1>
<p>{text}</p>
<main>
{cards}
</main>"""
_CARD = """<article class="{verdict}">
<h2>{name}</h2>
<div>{pictures}</div>
<p>{caption}</p>
<p><b>{verdict}</b>: {text}</p>
</article>"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A clip on the sheet."""

    name: str
    caption: str
    verdict: str
    """``used``, ``trimmed`` or ``dropped``."""
    text: str
    """What is used of it, or why nothing is."""
    pictures: list[bytes]
    """JPEG files."""


def render_sheet(title: str, text: str, cards: list[Card]) -> str:
    """The page's HTML."""
    body = _BODY.format(title=safe(title), text=safe(text), cards="\n".join(map(_render_card, cards)))
    return page(title, _STYLE, body)


def _render_card(card: Card) -> str:
    pictures = [f'<img alt="" src="data:image/jpeg;base64,{b64encode(jpeg).decode()}">' for jpeg in card.pictures]
    return _CARD.format(
        name=safe(card.name),
        pictures="".join(pictures),
        caption=safe(card.caption) or "<em>no caption</em>",
        verdict=safe(card.verdict),
        text=safe(card.text),
    )
