"""From noise to latents: step 12.

A sampler is given ``predict(x_t, t)``, walks the times of a grid from 0 (noise) to 1 (clean), and returns x0.
What else generating needs is put around ``predict``: guidance, windows over a long video, latents known beforehand.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from soradit.diffusion.process import Latents, Process, Times, per_sample

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> what the process's model predicts; t is a number per sample."""
VideoLatents = Float[Tensor, "batch t h w c"]
CONTINUITY = 12.0
"""Times the noise level, the weight w_r of Video Diffusion Models, equation 7; measured: docs/seams.md."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a sampler stands."""

    done: int
    """Steps behind it, from 1."""
    of: int
    x0: Tensor
    """The clean latents (batch, ...) that its latest prediction leads to."""


OnStep = Callable[[Step], None]


def with_guidance(predict: Predict, guidance: float, *, since: float = 0.0, until: float = 1.0) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, equation 6, with guidance = w + 1).

    ``predict`` predicts for a batch of prompts, and for one twice as long: then with the negative (or empty) ones
    behind them. Before t = ``since`` and from ``until`` on the prompts alone are asked: guidance does harm where all is
    noise, and near the clean end it is largely unnecessary (Kynkäänniemi et al. 2024, arXiv 2404.07724, section 4).
    """

    def guided(x: Latents, t: Times) -> Latents:
        if (since > 0 or until < 1) and not since <= float(t[0]) < until:  # to look at t is to wait for the device
            return predict(x, t)
        positive, negative = predict(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        return torch.lerp(negative, positive, guidance)

    return guided


def overlapping_windows(total: int, length: int) -> list[slice]:
    """Windows of ``length`` over ``total`` latent frames, each half over the one before; the last may be shorter."""
    stride = max(1, length // 2)
    starts = range(0, max(1, total - (length - stride)), stride)
    return [slice(start, min(total, start + length)) for start in starts]


def in_windows(predict: Predict, *, length: int, first: Predict | None = None) -> Predict:
    """Predict a video of any number of latent frames by windows of ``length`` that overlap by half.

    Where windows overlap their predictions are averaged, each weighing less towards its ends, so that no frame is
    anybody's border (Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113, equation 5, in time). ``first`` predicts
    the first window, if it is not like the others.
    """

    def predict_long(x: VideoLatents, t: Times) -> VideoLatents:
        position = torch.arange(length, device=x.device) + 0.5
        weight = torch.minimum(position, length - position)[:, None, None, None]
        total, weights = torch.zeros_like(x), torch.zeros_like(x)
        for window in overlapping_windows(x.shape[1], length):
            predict_here = first if first is not None and window.start == 0 else predict
            weight_here = weight[: window.stop - window.start]
            total[:, window] += weight_here * predict_here(x[:, window], t)
            weights[:, window] += weight_here
        return total / weights

    return predict_long


def continuing(predict: Predict, known: VideoLatents, process: Process) -> Predict:
    """Predict a video whose first latent frames are known, and whose others are to go on from there.

    The known ones are held: the prediction there is the one that leads to them. That alone leaves a seam, since the
    others hardly heed it; so they are also moved towards what makes the model itself predict the known ones
    (Ho et al. 2022, Video Diffusion Models, arXiv 2204.03458, equation 7), at the cost of a backward pass.
    """
    held = known.shape[1]

    def predict_rest(x: VideoLatents, t: Times) -> VideoLatents:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = process.clean(x, predict(x, t), t)
            (gradient,) = torch.autograd.grad((x0[:, :held] - known).square().sum(), x)
        weight = CONTINUITY * process.sigma(t)
        moved = x0 - per_sample(weight / 2 * process.signal(t), x) * gradient
        return process.prediction_of(x, torch.cat([known, moved[:, held:]], dim=1), t).detach()

    return predict_rest


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


def dpm_multistep(predict: Predict, x: Latents, times: list[float], process: Process, on_step: OnStep) -> Latents:
    """Second order at one prediction a step, and exact while the clean latents that are predicted stay the same.

    DPM-Solver++(2M): Lu et al. 2022 (arXiv 2211.01095), algorithm 2, with its lambda = log(signal / sigma). Where a
    lambda is infinite a step is of first order: the first two, from pure noise, and the last, which thus ends at what
    is predicted then, and not beyond.
    """
    signals, sigmas = (level(torch.tensor(times, dtype=torch.float64)) for level in (process.signal, process.sigma))
    signal, sigma, lambda_ = signals.tolist(), sigmas.tolist(), (signals / sigmas).log().tolist()
    before, stride_before = x, math.inf
    for i, t in enumerate(times[:-1]):
        now, stride = _every(t, x), lambda_[i + 1] - lambda_[i]
        x0 = process.clean(x, predict(x, now), now)
        on_step(Step(done=i + 1, of=len(times) - 1, x0=x0))
        ahead = stride / (2 * stride_before) if stride < math.inf else 0.0
        share = sigma[i + 1] / sigma[i]
        x = share * x + (signal[i + 1] - share * signal[i]) * (x0 + ahead * (x0 - before))
        before, stride_before = x0, stride
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


SAMPLERS = {"ab2": adams_bashforth, "dpmpp": dpm_multistep, "euler": euler, "ddim": ddim}


def sample(
    predict: Predict,
    noise: Latents,
    *,
    process: Process,
    sampler: str,
    times: Float[Tensor, " steps_and_one"],
    on_step: OnStep = lambda step: None,
) -> Latents:
    """Noise -> clean latents, visiting ``times`` (see ``timestep_grid``) with the sampler of that name.

    Which can walk which process, ``soradit.model.config.SAMPLER_NAMES`` says.
    """
    return SAMPLERS[sampler](predict, noise, times.tolist(), process, on_step)
