"""``python -m soradit.byhand > docs/byhand.md`` writes that page anew."""

from soradit.byhand.document import FullSize, document
from soradit.byhand.exercise import work
from soradit.byhand.lesson import tell

print(document(tell(work()), FullSize.bundled()), end="")
