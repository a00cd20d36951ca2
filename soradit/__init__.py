"""soradit trains text-to-video diffusion transformers and generates videos with them."""

__version__ = "0.1.0"
