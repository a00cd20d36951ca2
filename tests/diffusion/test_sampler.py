"""Samplers on a Gaussian, where the exact prediction is known in closed form."""

import pytest
import torch
from torch import Tensor

from soradit.diffusion.process import PROCESSES, Flow, Process, per_sample, timestep_grid
from soradit.diffusion.sampler import SAMPLERS, Predict, sample, with_guidance

MEAN, STD = 1.5, 0.6
WALKS = [(process, sampler) for process, samplers in SAMPLERS.items() for sampler in samplers]


def exact_prediction(process: Process, mean: float = MEAN, std: float = STD) -> Predict:
    """The best prediction from x_t where x0 is Gaussian: conditional means of a linear Gaussian model."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = per_sample(process.signal(t), x), per_sample(process.sigma(t), x)
        innovation = (x - signal * mean) / (signal**2 * std**2 + sigma**2)
        x0, noise = mean + signal * std**2 * innovation, sigma * innovation
        return process.target(x0, noise)

    return predict


def walk(process_name: str, sampler: str, noise: Tensor, steps: int) -> Tensor:
    process = PROCESSES[process_name]()
    return sample(exact_prediction(process), noise, process=process, sampler=sampler, times=timestep_grid(steps))


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_mean_and_variance_come_out_right(process: str, sampler: str) -> None:
    x0 = walk(process, sampler, torch.randn(8, 5000, generator=torch.Generator().manual_seed(0)), steps=200)
    assert abs(x0.mean() - MEAN) < 0.02
    assert abs(x0.std() - STD) < 0.02


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("ab2", 2)])
def test_error_falls_with_the_order_of_the_sampler(sampler: str, order: int) -> None:
    """The exact flow maps a noise z to mean + std * z."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    coarse, fine = (
        (walk("flow", sampler, noise, steps) - (MEAN + STD * noise)).abs().max().item() for steps in (20, 40)
    )
    assert coarse / fine == pytest.approx(2**order, rel=0.25)


def test_second_order_holds_on_uneven_strides() -> None:
    noise, process, errors = torch.linspace(-2, 2, 9, dtype=torch.float64)[None], Flow(), []
    for steps in (160, 320):
        times = timestep_grid(steps, shift=3.0)
        x0 = sample(exact_prediction(process), noise, process=process, sampler="ab2", times=times)
        errors.append((x0 - (MEAN + STD * noise)).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_one_data_point_is_found_in_one_step(process: str, sampler: str) -> None:
    """Where the data is one point, the exact prediction leads there from any noise, in any number of steps."""
    prediction = exact_prediction(PROCESSES[process](), std=0.0)
    for steps in (1, 3):
        x0 = sample(
            prediction,
            torch.randn(2, 4),
            process=PROCESSES[process](),
            sampler=sampler,
            times=timestep_grid(steps),
        )
        torch.testing.assert_close(x0, torch.full((2, 4), MEAN), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_a_sampler_predicts_once_a_step_and_says_so(process: str, sampler: str) -> None:
    seen: list[float] = []
    steps: list[tuple[int, int]] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (3,)
        seen.append(t[0].item())
        return torch.zeros_like(x)

    times = timestep_grid(5)
    sample(
        predict,
        torch.randn(3, 2),
        process=PROCESSES[process](),
        sampler=sampler,
        times=times,
        on_step=lambda done, of: steps.append((done, of)),
    )
    assert seen == times[:-1].tolist()
    assert steps == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize("guidance", [0.0, 1.0, 4.0])
def test_guidance_extrapolates_in_one_batched_call(guidance: float) -> None:
    positive, negative = torch.randn(2, 3, 4)
    calls: list[tuple[Tensor, Tensor]] = []

    def predict_both(x: Tensor, t: Tensor) -> Tensor:
        calls.append((x, t))
        return torch.cat([positive, negative])

    x, t = torch.randn(3, 4), torch.rand(3)
    guided = with_guidance(predict_both, guidance)(x, t)
    torch.testing.assert_close(guided, negative + guidance * (positive - negative))
    ((both_x, both_t),) = calls
    assert torch.equal(both_x, torch.cat([x, x]))
    assert torch.equal(both_t, torch.cat([t, t]))
