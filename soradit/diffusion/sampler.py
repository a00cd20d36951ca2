"""From noise to latents: step 12.

A sampler is given ``predict(x_t, t)``, walks the times of a grid from 0 (noise) to 1 (clean), and returns x0.
What else generating needs is put around ``predict``: guidance, windows over a long video, latents known beforehand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from soradit.diffusion.process import Latents, Process, Times

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> what the process's model predicts; t is a number per sample."""
VideoLatents = Float[Tensor, "batch t h w c"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a sampler stands."""

    done: int
    """Steps behind it, from 1."""
    of: int
    x0: Tensor
    """The clean latents (batch, ...) that its latest prediction leads to."""


OnStep = Callable[[Step], None]


def with_guidance(predict_both: Predict, guidance: float) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, equation 6, with guidance = w + 1).

    ``predict_both`` predicts for a batch twice as long: first with the prompt, then with the negative (or empty) one.
    """

    def predict(x: Latents, t: Times) -> Latents:
        positive, negative = predict_both(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        return torch.lerp(negative, positive, guidance)

    return predict


def in_windows(predict: Predict, *, length: int) -> Predict:
    """Predict a video of any number of latent frames by windows of ``length`` that overlap by half.

    Where windows overlap their predictions are averaged, each weighing less towards its ends, so that no frame is
    anybody's border (Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113, equation 5, in time).
    """

    def predict_long(x: VideoLatents, t: Times) -> VideoLatents:
        last = x.shape[1] - length
        if last <= 0:
            return predict(x, t)
        position = torch.arange(length, device=x.device) + 0.5
        weight = torch.minimum(position, length - position)[:, None, None, None]
        total, weights = torch.zeros_like(x), torch.zeros_like(x[:1, :, :1, :1, :1])
        for start in [*range(0, last, max(1, length // 2)), last]:
            window = slice(start, start + length)
            total[:, window] += weight * predict(x[:, window], t)
            weights[:, window] += weight
        return total / weights

    return predict_long


def holding(
    predict: Predict, known: VideoLatents, noise: VideoLatents, process: Process
) -> tuple[Predict, VideoLatents]:
    """Predict a video whose first latent frames are known, and what to start from.

    There the prediction is the training target itself, so that any sampler leads from the noised ``known`` straight
    to ``known``, and the model sees these frames at every t as it saw clips in training (Lugmayr et al. 2022,
    RePaint, arXiv 2201.09865, equation 8, with the same noise throughout).
    """
    held = known.shape[1]
    target = process.target(known, noise[:, :held])

    def predict_rest(x: VideoLatents, t: Times) -> VideoLatents:
        return torch.cat([target, predict(x, t)[:, held:]], dim=1)

    noised = process.add_noise(known, noise[:, :held], _every(0.0, known))
    return predict_rest, torch.cat([noised, noise[:, held:]], dim=1)


def euler(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """First order, for a model that predicts velocity: x += dt * v."""
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        now = _every(t, x)
        velocity = predict(x, now)
        on_step(Step(done=step, of=len(times) - 1, x0=process.clean(x, velocity, now)))
        x = x + (t_next - t) * velocity
    return x


def adams_bashforth(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """Second order at one prediction a step, for a model that predicts velocity.

    Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, section III.5, equation 1.5 for k = 2 with
    unequal strides; the first step is Euler's.
    """
    previous, previous_stride = None, 0.0
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        now, stride = _every(t, x), t_next - t
        velocity = predict(x, now)
        on_step(Step(done=step, of=len(times) - 1, x0=process.clean(x, velocity, now)))
        if previous is None:
            x = x + stride * velocity
        else:
            x = x + stride * (velocity + stride / (2 * previous_stride) * (velocity - previous))
        previous, previous_stride = velocity, stride
    return x


def ddim(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """Deterministic, for a model that predicts noise (Song et al. 2021, arXiv 2010.02502, equation 12, sigma = 0)."""
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        now = _every(t, x)
        noise = predict(x, now)
        x0 = process.clean(x, noise, now)
        on_step(Step(done=step, of=len(times) - 1, x0=x0))
        x = process.add_noise(x0, noise, _every(t_next, x))
    return x


def _every(t: float, x: Tensor) -> Float[Tensor, " batch"]:
    return torch.full((len(x),), t, device=x.device)


SAMPLERS = {"flow": {"ab2": adams_bashforth, "euler": euler}, "noise": {"ddim": ddim}}
"""For each process the samplers that can walk it, the default first."""


def sample(
    predict: Predict,
    noise: Latents,
    *,
    process: Process,
    sampler: str,
    times: Float[Tensor, " steps_and_one"],
    on_step: OnStep = lambda step: None,
) -> Latents:
    """Noise -> clean latents, visiting ``times`` (see ``timestep_grid``) with the sampler of that name."""
    return SAMPLERS[process.name][sampler](predict, noise, times.tolist(), process, on_step)
