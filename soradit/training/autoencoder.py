"""What the autoencoder is trained on: windows of clips, which it must give back. Steps 3 and 13."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from soradit.device import autocast, pinned
from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.media.mirror import mirror_frames
from soradit.media.video import read_video
from soradit.model.autoencoder import Autoencoder, to_float
from soradit.model.config import GenerationConfig
from soradit.model.fitting import fit_autoencoder, fit_decoder
from soradit.model.weights import save_autoencoder, write_index
from soradit.report import Report
from soradit.training.discriminator import DISCRIMINATOR_STAGES, AutoencoderGAN, Discriminator
from soradit.training.guard import memory_guard
from soradit.training.perceptual import STAGES, FeatureExtractor, perceptual_loss
from soradit.training.randomness import draw_indices, generator

MAX_LATENT_NOISE = 0.03
"""Noise on training latents, in their root mean squares, at most: it makes the decoder forgive small errors."""
GRADIENT_WEIGHT = 0.5
"""Weight of the loss on differences between neighbouring pixels and frames, beside the loss on pixels."""
CROP = 128
"""Height and width in pixels that a training example shows of its window, at most: more clips at the same cost."""
CROP_STEP = 16
"""Pixels; crops begin where macroblocks do: colour is stored for 2 x 2 pixels, and whole pictures' tokens fit those."""
NUM_FITTING_WINDOWS = 384
NUM_STATISTICS_WINDOWS = 32
MAX_HELD_OUT = 16
MIN_LATENT_STD = 1e-4
"""Least deviation that latents are divided by: those of clips that never change can't be given unit variance."""

Video = Float[Tensor, "b frames height width 3"]
Part = Float[Tensor, "b shown y x 3"]
"""Part of a video, or all of it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of training examples, on the CPU."""

    video: UInt8[Tensor, "b frames height width 3"]
    noise: Float[Tensor, "b t h w latent"]
    """For the latents, in their root mean squares."""


class AutoencoderObjective:
    """Reconstructs windows of ``generation.num_frames`` frames through slightly noisy latents."""

    latent_noise = MAX_LATENT_NOISE

    def __init__(
        self,
        model: Autoencoder,
        *,
        training: list[Clip],
        held_out: list[Clip],
        seconds: dict[Path, float],
        generation: GenerationConfig,
        batch_size: int,
        seed: int,
        device: torch.device,
        precision: torch.dtype,
        perceptual: float = 0.0,
        adversarial: float = 0.0,
    ) -> None:
        """``seconds`` are the lengths of the clips' files; ``perceptual`` and ``adversarial`` weigh those losses."""
        self.autoencoder = model.to(device)
        self.perceptual, self.adversarial = perceptual, adversarial
        self.extractor = self.gan = None
        if perceptual or adversarial:
            self.extractor = FeatureExtractor(STAGES + DISCRIMINATOR_STAGES if adversarial else STAGES).to(device)
        if self.extractor and adversarial:
            torch.manual_seed(seed)
            self.gan = AutoencoderGAN(self.autoencoder, Discriminator(self.extractor.channels())).to(device)
        self.training, self.held_out, self.seconds = training, held_out, seconds
        self.generation = generation
        self.batch_size, self.seed = batch_size, seed
        self.device, self.precision = device, precision

    @property
    def crop(self) -> int:
        """Height and width in pixels, at most, of what an example reads of its window."""
        return CROP

    @property
    def model(self) -> Autoencoder | AutoencoderGAN:
        return self.gan or self.autoencoder

    @property
    def network(self) -> Autoencoder | AutoencoderGAN:
        return self.model

    def fit(self, report: Report, *, encoder: bool, like: Autoencoder | None = None) -> None:
        """Start from the best linear model of training windows; without the encoder, of its latents as they are.

        With ``like``, a new encoder's latents are turned towards those of that one.
        """
        indices = draw_indices(self.seed, 0, NUM_FITTING_WINDOWS, len(self.training))
        self.autoencoder.cpu()  # least squares in float64, which not every device has
        try:
            with (
                memory_guard(lambda: "use a smaller --size or fewer --frames"),
                report.progress("reading what to fit to", len(indices) + 1) as progress,
            ):
                random, windows = generator(self.seed, "fit"), []
                for index in indices:
                    windows.append(self._window(self.training[index], random))
                    progress.update(len(windows))
                videos, poll = torch.stack(windows), partial(progress.update, len(windows), "fitting")
                if encoder:
                    fit_autoencoder(self.autoencoder, videos, self.seed, like=like, poll=poll)
                else:
                    fit_decoder(self.autoencoder, videos, self.seed, poll=poll)
        except torch.linalg.LinAlgError as error:
            raise SoraditError("the clips are too few or too much alike to fit an autoencoder to: add clips") from error
        self.autoencoder.to(self.device)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Each example's draws are its own, so that a batch is the same however it is shared out."""
        indices = draw_indices(self.seed, step, self.batch_size, len(self.training))
        randoms = {i: generator(self.seed, step, i) for i in range(self.batch_size)[part]}
        videos = [
            _crop(self._window(self.training[indices[i]], random), self.crop, random) for i, random in randoms.items()
        ]
        noises = [self._noise(videos[0].shape, random) for random in randoms.values()]
        return Batch(video=pinned(torch.stack(videos), self.device), noise=pinned(torch.stack(noises), self.device))

    def _noise(self, shape: torch.Size, random: torch.Generator) -> Float[Tensor, "t h w latent"]:
        """For the latents of a video of that shape, of an amount that is drawn too."""
        config = self.autoencoder.config
        grid = [pixels // unit for pixels, unit in zip(shape, config.token_size, strict=False)]
        amount = self.latent_noise * torch.rand((), generator=random)
        return amount * torch.randn(*grid, config.latent_channels, generator=random)

    def examples(self, step: int) -> list[str]:
        indices = draw_indices(self.seed, step, self.batch_size, len(self.training))
        return [str(self.training[index]) for index in indices]

    def loss(self, batch: Batch, step: int) -> Tensor:
        video = to_float(batch.video.to(self.device, non_blocking=True))
        reconstruction, video = self._reconstruct(video, batch.noise.to(self.device, non_blocking=True))
        loss = reconstruction_loss(reconstruction, video)
        if self.extractor is not None:
            seen, real = self.extractor(reconstruction, step), self.extractor(video, step)
            loss = loss + self.perceptual * perceptual_loss(seen, real)
            if self.gan is not None:
                discriminator = self.gan.discriminator
                loss = loss + discriminator.loss(seen, real) + self.adversarial * discriminator.generator_loss(seen)
        return loss

    def _reconstruct(self, video: Video, noise: Float[Tensor, "b t h w latent"]) -> tuple[Part, Part]:
        """What is made of the video, and what should have been."""
        with autocast(self.device, self.precision):
            latents = self.autoencoder.encoder(video)
            # An example's own, so that it is the same in a part of a batch. Fitted latents have a mean of about zero.
            power = reduce(latents.detach().square(), "b t h w latent -> b 1 1 1 latent", "mean")
            reconstruction = self.autoencoder.decoder(latents + power.sqrt() * noise)
        return reconstruction.float(), video

    def evaluate(self, poll: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Reconstruction loss, and PSNR in dB, on fixed held-out windows without noise."""
        losses, errors = [], []
        for index in range(min(MAX_HELD_OUT, len(self.held_out))):
            poll()
            window = self._window(self.held_out[index], generator(0, "held-out", index))
            video = to_float(window[None].to(self.device))
            reconstruction = self.autoencoder.decoder(self.autoencoder.encoder(video))
            losses.append(reconstruction_loss(reconstruction, video).item())
            errors.append(psnr(reconstruction.clamp(-1, 1), video))
        return {"held_out_loss": _mean(losses), "held_out_psnr": _mean(errors)}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        """The autoencoder, with the statistics that normalise its latents: new ones, unless its encoder is frozen."""
        if self.gan is not None:
            prefix = "autoencoder."
            tensors = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        config = self.autoencoder.config
        if any(parameter.requires_grad for parameter in self.autoencoder.encoder.parameters()):
            mean, std = self._latent_statistics(tensors)
            config = replace(config, latent_mean=tuple(mean.tolist()), latent_std=tuple(std.tolist()))
        save_autoencoder(run, config, tensors)
        write_index(run)

    @torch.no_grad()
    def _latent_statistics(self, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        published = Autoencoder(self.autoencoder.config)
        published.load_state_dict(tensors)
        published = published.eval().to(self.device)
        latents = []
        for index in draw_indices(self.seed, 0, min(NUM_STATISTICS_WINDOWS, len(self.training)), len(self.training)):
            random = generator(0, "statistics", index)
            video = _crop(self._window(self.training[index], random), self.crop, random)[None].to(self.device)
            latents.append(published.encoder(to_float(video)).flatten(0, -2))
        flat = torch.cat(latents).cpu().double()
        deviation = flat.var(0).mean().sqrt().clamp_min(MIN_LATENT_STD)
        return flat.mean(0), deviation.expand(flat.shape[1])

    def _window(self, clip: Clip, random: torch.Generator) -> UInt8[Tensor, "frames height width 3"]:
        """A random window; a clip that is too short is extended by its last frame."""
        config = self.generation
        latest_start = max(0.0, self.seconds[clip.path] - config.num_frames / config.fps)
        start = latest_start * float(torch.rand((), generator=random))
        size = (config.height, config.width)
        frames, _ = read_video(
            clip.path, fps=config.fps, size=size, start_seconds=start, num_frames=self.generation.num_frames
        )
        window = torch.from_numpy(mirror_frames(frames) if clip.mirrored else frames)
        missing = self.generation.num_frames - len(window)
        return torch.cat([window, window[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else window


class RefinerObjective(AutoencoderObjective):
    """Refines what is decoded of windows, from latents as they are.

    Tokens at a crop's borders are decoded without neighbours that others have: they only stand around what is refined.
    """

    latent_noise = 0.0

    @property
    def crop(self) -> int:
        return CROP + 2 * max(self.autoencoder.config.token_size[1:])

    def _reconstruct(self, video: Video, noise: Float[Tensor, "b t h w latent"]) -> tuple[Part, Part]:
        with torch.no_grad():
            draft = self.autoencoder.decoder.draft(self.autoencoder.encoder(video))
        sizes = zip(video.shape[1:4], self.autoencoder.config.token_size, strict=True)
        inside = (slice(None), *(_inside(size, token) for size, token in sizes))
        with autocast(self.device, self.precision):
            refined = self.autoencoder.decoder.refiner(draft[inside])
        return refined.float(), video[inside]


def _inside(size: int, token: int) -> slice:
    """Without the outermost tokens, where that leaves any."""
    return slice(token, size - token) if size > 2 * token else slice(None)


def _crop(
    video: UInt8[Tensor, "*b t height width 3"], size: int, random: torch.Generator
) -> UInt8[Tensor, "*b t h w 3"]:
    """A random part of the picture, of that height and width at most, the same one throughout."""
    height, width = video.shape[-3:-1]
    h, w = min(size, height), min(size, width)
    y = CROP_STEP * int(torch.randint((height - h) // CROP_STEP + 1, (), generator=random))
    x = CROP_STEP * int(torch.randint((width - w) // CROP_STEP + 1, (), generator=random))
    return video[..., y : y + h, x : x + w, :]


def reconstruction_loss(reconstruction: Video, video: Video) -> Tensor:
    """Mean absolute error of pixels, and of the differences between neighbours in width, height and time."""
    loss = F.l1_loss(reconstruction, video)
    error = reconstruction - video
    for axis in (1, 2, 3):
        if video.shape[axis] > 1:
            loss = loss + GRADIENT_WEIGHT * error.diff(dim=axis).abs().mean()
    return loss


def psnr(reconstruction: Video, video: Video) -> float:
    """Peak signal-to-noise ratio in dB; pixels span 2 (from -1 to 1)."""
    return float(10 * torch.log10(4 / F.mse_loss(reconstruction, video).clamp_min(1e-10)))


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
