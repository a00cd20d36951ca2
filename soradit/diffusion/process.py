"""Two diffusion processes behind one interface: adding noise, and what the model learns from it. Steps 4 and 11.

Time t runs from 0 (pure noise) to 1 (clean): the larger t, the smaller the noise. Every process noises clean
latents x0 with Gaussian noise as ``x_t = signal(t) * x0 + sigma(t) * noise`` and says what the model predicts.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "batch *latent"]
Times = Float[Tensor, " batch"]


def per_sample(numbers: Times, x: Latents) -> Tensor:
    """Shape (batch,) -> (batch, 1, ..., 1), to be broadcast over ``x``."""
    return numbers.view(-1, *[1] * (x.ndim - 1))


class Process(ABC):
    """How clean latents become noise, and what the model is asked for on the way back."""

    @abstractmethod
    def signal(self, t: Times) -> Times:
        """Share of the clean latents in x_t."""

    @abstractmethod
    def sigma(self, t: Times) -> Times:
        """Standard deviation of the noise in x_t."""

    @abstractmethod
    def draw_timesteps(self, count: int, generator: torch.Generator) -> Times:
        """Timesteps to train on."""

    @abstractmethod
    def target(self, x0: Latents, noise: Latents) -> Latents:
        """What the model should predict from x_t."""

    @abstractmethod
    def clean(self, x: Latents, prediction: Latents, t: Times) -> Latents:
        """The clean latents that x_t leads to, if the prediction is right: ``target`` turned round."""

    def prediction_of(self, x: Latents, x0: Latents, t: Times) -> Latents:
        """The prediction at x_t that leads to these clean latents: the inverse of ``clean``, for t below 1."""
        noise = (x - per_sample(self.signal(t), x) * x0) / per_sample(self.sigma(t), x)
        return self.target(x0, noise)

    def add_noise(self, x0: Latents, noise: Latents, t: Times) -> Latents:
        """Step 4: the noised latents x_t."""
        return per_sample(self.signal(t), x0) * x0 + per_sample(self.sigma(t), x0) * noise

    def error(self, prediction: Latents, x0: Latents, noise: Latents) -> Latents:
        """By how much the prediction is above the target."""
        return prediction - self.target(x0, noise)

    def loss(self, prediction: Latents, x0: Latents, noise: Latents) -> Times:
        """Step 11: mean squared error between prediction and target, a number per sample."""
        return self.error(prediction, x0, noise).square().flatten(1).mean(1)


class Flow(Process):
    """Rectified flow: straight lines from noise to data, the model predicts the velocity along them.

    Liu et al. 2022 (arXiv 2209.03003), equation 1; logit-normal timesteps of Esser et al. 2024 (Stable Diffusion 3,
    arXiv 2403.03206), section 3.1, and among them a share of pure noise.
    """

    PURE_NOISE = 1 / 8
    """Share of training's timesteps that are 0. There each video begins, with nothing but the prompt to tell what to
    make, and a logit-normal density vanishes: a model that has seen only what is close to it goes by the little signal
    left, which tells how bright a clip is better than its prompt does (Lin et al. 2023, arXiv 2305.08891)."""

    def signal(self, t: Times) -> Times:
        return t

    def sigma(self, t: Times) -> Times:
        return 1 - t

    def draw_timesteps(self, count: int, generator: torch.Generator) -> Times:
        t = torch.randn(count, generator=generator).sigmoid()
        return t.where(torch.rand(count, generator=generator) >= self.PURE_NOISE, 0)

    def target(self, x0: Latents, noise: Latents) -> Latents:
        """The velocity dx_t / dt = x0 - noise."""
        return x0 - noise

    def clean(self, x: Latents, prediction: Latents, t: Times) -> Latents:
        return x + per_sample(1 - t, x) * prediction


class Noise(Process):
    """DDPM as DiT uses it: 1000 steps of a linear schedule, the model predicts the noise.

    Ho et al. 2020 (arXiv 2006.11239), equations 4 and 14. The paper's step n = 0 ... 999, larger noisier, is
    t = 1 - (n + 1) / 1000 here.
    """

    NUM_STEPS = 1000
    BETA_FIRST, BETA_LAST = 1e-4, 0.02

    def __init__(self) -> None:
        betas = torch.linspace(self.BETA_FIRST, self.BETA_LAST, self.NUM_STEPS, dtype=torch.float64)
        alphas_bar = torch.cumprod(1 - betas, dim=0)
        self.alphas_bar = torch.cat([torch.ones(1, dtype=torch.float64), alphas_bar]).float()
        """Equation 4's cumulative product after 0, 1, ..., 1000 steps."""

    def alpha_bar(self, t: Times) -> Times:
        """Between two steps, interpolated linearly."""
        position = (1 - t) * self.NUM_STEPS
        below = position.floor().clamp(0, self.NUM_STEPS - 1).long()
        self.alphas_bar = table = self.alphas_bar.to(t.device)  # once: a copy to a GPU waits for it
        return torch.lerp(table[below], table[below + 1], (position - below).to(table.dtype))

    def signal(self, t: Times) -> Times:
        return self.alpha_bar(t).sqrt()

    def sigma(self, t: Times) -> Times:
        return (1 - self.alpha_bar(t)).sqrt()

    def draw_timesteps(self, count: int, generator: torch.Generator) -> Times:
        steps = torch.randint(1, self.NUM_STEPS + 1, (count,), generator=generator)
        return 1 - steps / self.NUM_STEPS

    def target(self, x0: Latents, noise: Latents) -> Latents:
        return noise

    def clean(self, x: Latents, prediction: Latents, t: Times) -> Latents:
        return (x - per_sample(self.sigma(t), x) * prediction) / per_sample(self.signal(t), x)


PROCESSES: dict[str, type[Process]] = {"flow": Flow, "noise": Noise}


def move_timesteps(t: Times, shift: float, spread: float = 1.0) -> Times:
    """Move timesteps towards the noise by a ``shift`` above 1, and towards both ends by a ``spread`` above 1.

    logit(t) becomes spread * logit(t) - log(shift); 0 and 1 stay. A shift alone is that of Esser et al. 2024 (Stable
    Diffusion 3, arXiv 2403.03206), equation 23, for the noise level 1 - t. Timesteps that are logit-normal (equation
    19) stay so.
    """
    return torch.sigmoid(spread * torch.logit(t) - math.log(shift))


def min_snr_weight(process: Process, t: Times, gamma: float) -> Times:
    """Weight of the loss of predicted noise: min(SNR, gamma) / SNR, so that nearly clean latents don't dominate.

    Hang et al. 2023 (arXiv 2303.09556), equation 8, for the prediction of noise.
    """
    sigma = process.sigma(t).clamp_min(1e-8)
    return (gamma / (process.signal(t) / sigma).square()).clamp_max(1)


def timestep_grid(steps: int, shift: float = 1.0, spread: float = 1.0) -> Float[Tensor, " steps_and_one"]:
    """Times that a sampler visits, from 0 to 1 in ``steps`` strides: even ones, moved by ``move_timesteps``."""
    return move_timesteps(torch.linspace(0, 1, steps + 1, dtype=torch.float64), shift, spread).float()
