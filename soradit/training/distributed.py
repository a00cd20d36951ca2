"""One process, or several that train together (``torchrun -m soradit train ...``)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The one that writes."""
        return self.rank == 0

    def parts(self, batch_size: int, accumulate: int) -> list[slice]:
        """Of a batch, what this process trains on, in ``accumulate`` equal parts."""
        length = batch_size // (self.size * accumulate)
        first = self.rank * accumulate
        return [slice(i * length, (i + 1) * length) for i in range(first, first + accumulate)]


ALONE = World()
