"""soradit trains text-to-video diffusion transformers and generates videos with them.

``from soradit import Pipeline``: see docs/generating.md.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Pipeline", "Request", "SoraditError", "Video", "__version__"]

if TYPE_CHECKING:
    from soradit.errors import SoraditError
    from soradit.pipeline import Pipeline
    from soradit.video import Request, Video


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: torch takes seconds."""
    if name == "SoraditError":
        from soradit.errors import SoraditError

        return SoraditError
    if name in __all__:
        import soradit.pipeline

        return getattr(soradit.pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
