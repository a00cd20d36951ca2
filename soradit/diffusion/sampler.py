"""From noise to latents: step 12.

A sampler is given ``predict(x_t, t)``, walks the times of a grid from 0 (noise) to 1 (clean), and returns x0.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from soradit.diffusion.process import Latents, Process, Times, per_sample

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> what the process's model predicts; t is a number per sample."""
OnStep = Callable[[int, int], None]
"""Called after each step with how many are done, and how many there are."""


def with_guidance(predict_both: Predict, guidance: float) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, equation 6, with guidance = w + 1).

    ``predict_both`` predicts for a batch twice as long: first with the prompt, then with the negative (or empty) one.
    """

    def predict(x: Latents, t: Times) -> Latents:
        positive, negative = predict_both(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        return torch.lerp(negative, positive, guidance)

    return predict


def euler(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """First order, for a model that predicts velocity: x += dt * v."""
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        x = x + (t_next - t) * predict(x, _every(t, x))
        on_step(step, len(times) - 1)
    return x


def adams_bashforth(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """Second order at one prediction a step, for a model that predicts velocity.

    Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, section III.5, equation 1.5 for k = 2 with
    unequal strides; the first step is Euler's.
    """
    previous, previous_stride = None, 0.0
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        velocity, stride = predict(x, _every(t, x)), t_next - t
        if previous is None:
            x = x + stride * velocity
        else:
            x = x + stride * (velocity + stride / (2 * previous_stride) * (velocity - previous))
        previous, previous_stride = velocity, stride
        on_step(step, len(times) - 1)
    return x


def ddim(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """Deterministic, for a model that predicts noise (Song et al. 2021, arXiv 2010.02502, equation 12, sigma = 0)."""
    for step, (t, t_next) in enumerate(pairwise(times), 1):
        now, then = _every(t, x), _every(t_next, x)
        noise = predict(x, now)
        x0 = (x - per_sample(process.sigma(now), x) * noise) / per_sample(process.signal(now), x)
        x = process.add_noise(x0, noise, then)
        on_step(step, len(times) - 1)
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
    on_step: OnStep = lambda *_: None,
) -> Latents:
    """Noise -> clean latents, visiting ``times`` (see ``timestep_grid``) with the sampler of that name."""
    return SAMPLERS[process.name][sampler](predict, noise, times.tolist(), process, on_step)
