"""docs/byhand.md: the 14 steps explained, each with its production code and with what it is at full size."""

import math
from dataclasses import dataclass

from soradit.byhand.drawing import BOXES, draw_equations
from soradit.byhand.steps import Step
from soradit.model.autoencoder import Autoencoder
from soradit.model.conditioning import TIMESTEP_FREQUENCIES
from soradit.model.config import AutoencoderConfig, GenerationConfig, latent_grid, load_generation_config
from soradit.model.dit import DiT
from soradit.model.folder import bundled_weights
from soradit.model.weights import load_autoencoder, load_transformer

HEAD = """<!-- Generated: python -m soradit.byhand > docs/byhand.md -->

# The diffusion transformer by hand

Tom Yeh's exercise (AI by Hand, no. 18) works a text-to-video diffusion transformer with a pencil, in 14 steps. Here
are the steps with small numbers, and every result is made by the functions that `soradit train` and `soradit generate`
call. `soradit byhand` shows the same in colour, `soradit byhand --worksheet sheet.html` prints it with blanks to fill
in, `soradit byhand --quiz` asks, and `soradit byhand --json` gives every value. The code that is named after each step
is named there with its line.

On paper a patch is a column; in the code it is a row, and tensors are `(batch, ..., channels)`. Weights with a double
border are learnable, with a heavy border frozen. A weight's name in the JSON is its name in the product's state dict
where the exercise has that layer. The numbers, and each place where the exercise is simpler than the product, are in
[soradit/byhand/exercise.py](../soradit/byhand/exercise.py).
"""


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """Weights whose sizes are told beside the exercise's."""

    generation: GenerationConfig
    autoencoder: Autoencoder
    transformer: DiT

    @classmethod
    def bundled(cls) -> "FullSize":
        folder = bundled_weights()
        return cls(
            generation=load_generation_config(folder),
            autoencoder=load_autoencoder(folder),
            transformer=load_transformer(folder),
        )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, height and width."""
        return latent_grid(self.generation, self.autoencoder.config.token_size)

    @property
    def tokens(self) -> int:
        return math.prod(self.grid)


def document(steps: list[Step], sizes: FullSize) -> str:
    """The whole page."""
    notes = full_size(sizes)
    return HEAD + "".join(_section(step, note) for step, note in zip(steps, notes, strict=True))


def _section(step: Step, note: str) -> str:
    words = step.words
    drawn = "\n".join(line.plain for line in draw_equations(step, BOXES)).strip("\n")
    code = ", ".join(f"`{code.name}` in [{code.path}](../{code.path})" for code in step.code)
    return (
        f"\n## Step {step.number}: {words.title}\n\n{words.sentence}\n\n```text\n{drawn}\n```\n\n"
        f"- **By hand.** {words.by_hand}\n- **In the product.** {code}.\n- **Simpler here.** {words.simpler}\n"
        f"- **At full size.** {note}\n"
    )


def full_size(sizes: FullSize) -> list[str]:
    """For each step what it is with weights of those sizes."""
    return [*_seeing(sizes), *_conditioning(sizes), *_transforming(sizes), *_making(sizes)]


def _seeing(sizes: FullSize) -> list[str]:
    """Steps 1 to 4."""
    g, a = sizes.generation, sizes.autoencoder.config
    first = sizes.autoencoder.encoder.project
    pixels = g.num_frames * g.height * g.width * 3
    patch = 3 * math.prod(a.patch_size)
    latents = sizes.tokens * a.latent_channels
    noised = {
        "flow": "t times the latents plus 1 - t times the noise, with t between 0 and 1",
        "noise": "DDPM's: the square root of alpha-bar times the latents plus that of 1 - alpha-bar times the noise",
    }
    return [
        f"{g.num_frames} frames of {g.width} x {g.height} pixels in 3 channels, {pixels:,} numbers; any prompt.",
        f"{pixels // patch:,} patches of {_times(a.patch_size)} pixels (frames, height, width), {patch} numbers each.",
        f"The first layer takes {first.in_features} numbers to {first.out_features}. Further ones merge neighbours, "
        f"until {a.latent_channels} numbers stand for {_times(a.token_size)} pixels: {pixels:,} numbers "
        f"become {_times(sizes.grid)} x {a.latent_channels} = {latents:,}, one in {pixels // latents}.",
        f"Gaussian noise for {latents:,} numbers; the sum is {noised[g.process]}.",
    ]


def _conditioning(sizes: FullSize) -> list[str]:
    """Steps 5 to 7."""
    d = sizes.transformer.config
    width = d.width
    return [
        f"CLIP pools the prompt into {d.pooled_dim} numbers, of which a layer makes {width - width // 2}. "
        f"{TIMESTEP_FREQUENCIES} sines and cosines of t become {width // 2} by two layers. Concatenated, after a SiLU: "
        f"{width} conditions. The prompt's tokens, {d.text_dim} numbers each, go to attention besides.",
        f"Each of {d.depth} blocks has weights of {6 * width} x {width} for 2 scales, 2 shifts and 2 gates of {width} "
        f"numbers; before the output there are {2 * width} x {width} more.",
        f"{sizes.tokens} tokens of {width} numbers, layer-normalised first; twice a block, and before the output.",
    ]


def _transforming(sizes: FullSize) -> list[str]:
    """Steps 8 to 10."""
    d, tokens = sizes.transformer.config, sizes.tokens
    width = d.width
    head = width // d.heads
    return [
        f"{d.heads} heads with queries and keys of {head} numbers, so scores are divided by the square root of {head}. "
        f"In each head of {d.depth} blocks {tokens} queries meet {tokens} keys and those of the prompt's tokens.",
        f"Values of {head} numbers a head; {d.heads} heads joined make {width}, which a layer of {width} x {width} "
        "mixes and a gate adds to the block's input.",
        f"{width} to {d.mlp_ratio * width} to {width} at each of {tokens} tokens, in each of {d.depth} blocks; a last "
        f"layer takes {width} to the {d.latent_channels} numbers of a latent.",
    ]


def _making(sizes: FullSize) -> list[str]:
    """Steps 11 to 14."""
    g, a = sizes.generation, sizes.autoencoder.config
    first = sizes.autoencoder.decoder.project
    parameters = sum(p.numel() for p in sizes.transformer.parameters())
    target = {"flow": "the velocity, latents minus noise", "noise": "the noise"}[g.process]
    guided = (
        f"; guidance {g.guidance:g} from t = {g.guidance_from:g} to {g.guidance_until:g}, where each step takes a "
        "second prediction, without the prompt"
        if g.guidance != 1
        else ""
    )
    frames = f"{g.num_frames} frames of {g.width} x {g.height}"
    return [
        f"{parameters:,} learnable parameters; the model predicts {target}; AdamW goes on for thousands of steps, and "
        "from the second on a step's size depends on the gradients before.",
        f"From pure noise, {g.steps} steps of `{g.sampler}`{guided}.",
        f"The first layer takes {first.in_features} numbers, a latent vector and its neighbours, to "
        f"{first.out_features}. Further ones split into neighbours, until {3 * math.prod(a.patch_size)} numbers are "
        f"{_times(a.patch_size)} pixels{_refined(a)}, clamped to [-1, 1].",
        f"{frames}, written as MP4 at {g.fps} frames a second.",
    ]


def _refined(config: AutoencoderConfig) -> str:
    """What follows the decoder's layers."""
    width = config.refiner_width
    return f", which convolutions of {width} features refine" if width else ""


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
