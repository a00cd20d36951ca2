"""Samplers on a Gaussian, where the exact prediction is known in closed form."""

import pytest
import torch
from torch import Tensor

from soradit.diffusion.process import PROCESSES, Flow, Process, per_sample, timestep_grid
from soradit.diffusion.sampler import (
    SAMPLERS,
    Predict,
    Step,
    continuing,
    in_windows,
    overlapping_windows,
    sample,
    with_guidance,
)
from soradit.model.config import SAMPLER_NAMES

MEAN, STD = 1.5, 0.6
WALKS = [(process, sampler) for process, samplers in SAMPLER_NAMES.items() for sampler in samplers]


def exact_prediction(process: Process, mean: float = MEAN, std: float = STD) -> Predict:
    """The best prediction from x_t where x0 is Gaussian: conditional means of a linear Gaussian model."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = per_sample(process.signal(t), x), per_sample(process.sigma(t), x)
        innovation = (x - signal * mean) / (signal**2 * std**2 + sigma**2)
        x0, noise = mean + signal * std**2 * innovation, sigma * innovation
        return process.target(x0, noise)

    return predict


def walk(
    process_name: str,
    sampler: str,
    noise: Tensor,
    steps: int,
    *,
    shift: float = 1.0,
    spread: float = 1.0,
    mean: float = MEAN,
    std: float = STD,
) -> Tensor:
    process = PROCESSES[process_name]()
    predict = exact_prediction(process, mean, std)
    return sample(predict, noise, process=process, sampler=sampler, times=timestep_grid(steps, shift, spread))


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_mean_and_variance_come_out_right(process: str, sampler: str) -> None:
    x0 = walk(process, sampler, torch.randn(8, 5000, generator=torch.Generator().manual_seed(0)), steps=200)
    assert abs(x0.mean() - MEAN) < 0.02
    assert abs(x0.std() - STD) < 0.02


@pytest.mark.parametrize(("sampler", "order", "steps"), [("euler", 1, 20), ("ab2", 2, 20), ("dpmpp", 2, 160)])
def test_error_falls_with_the_order_of_the_sampler(sampler: str, order: int, steps: int) -> None:
    """The exact flow maps a noise z to mean + std * z. At both ends dpmpp has long strides, however many they are."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    coarse, fine = (
        (walk("flow", sampler, noise, n) - (MEAN + STD * noise)).abs().max().item() for n in (steps, 2 * steps)
    )
    assert coarse / fine == pytest.approx(2**order, rel=0.25)


def test_second_order_holds_on_uneven_strides() -> None:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    coarse, fine = (
        (walk("flow", "ab2", noise, steps, shift=3.0) - (MEAN + STD * noise)).abs().max().item() for steps in (160, 320)
    )
    assert coarse / fine == pytest.approx(4, rel=0.25)


def contrast_kept(std: float, sampler: str, **spacing: float) -> float:
    """Share of what varies by ``std`` that ten strides leave."""
    return walk("flow", sampler, torch.ones(1, 1), steps=10, mean=0.0, std=std, **spacing).item() / std


@pytest.mark.parametrize("std", [0.5, 2.0, 16.0])
def test_few_strides_keep_contrast_if_they_are_shifted(std: float) -> None:
    assert contrast_kept(std, "ab2", shift=3.0) == pytest.approx(1, abs=0.06)


def test_few_even_strides_leave_faint_what_varies_much() -> None:
    assert contrast_kept(16.0, "ab2") < 0.65


@pytest.mark.parametrize("sampler", ["ab2", "dpmpp"])
def test_strides_spread_towards_the_end_keep_what_is_faint(sampler: str) -> None:
    """As what moves at night: it shows when little noise is left."""
    assert contrast_kept(0.1, sampler, shift=3.0) < 0.4
    assert contrast_kept(0.1, sampler, shift=2.0, spread=1.3) > 0.6
    assert contrast_kept(0.5, sampler, shift=2.0, spread=1.3) == pytest.approx(1, abs=0.06)


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
    steps: list[Step] = []

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
        on_step=steps.append,
    )
    assert seen == times[:-1].tolist()
    assert [(step.done, step.of) for step in steps] == [(i, 5) for i in range(1, 6)]
    assert all(step.x0.shape == (3, 2) for step in steps)


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_steps_show_where_they_lead(process: str, sampler: str) -> None:
    """Where the data is one point, each prediction leads straight to it."""
    steps: list[Step] = []
    sample(
        exact_prediction(PROCESSES[process](), std=0.0),
        torch.randn(2, 4),
        process=PROCESSES[process](),
        sampler=sampler,
        times=timestep_grid(4),
        on_step=steps.append,
    )
    for step in steps:
        torch.testing.assert_close(step.x0, torch.full((2, 4), MEAN), atol=1e-2, rtol=0)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_prediction_and_where_it_leads_are_inverses(process: str) -> None:
    chosen, t = PROCESSES[process](), torch.tensor([0.0, 0.3, 0.9])
    x, prediction = torch.randn(2, 3, 4, dtype=torch.float64)
    back = chosen.prediction_of(x, chosen.clean(x, prediction, t), t)
    torch.testing.assert_close(back, prediction, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 8, 9, 16, 31])
def test_windows_cover_everything_and_the_first_half_once(total: int, length: int) -> None:
    windows = overlapping_windows(total, length)
    times_seen = [sum(w.start <= i < w.stop for w in windows) for i in range(total)]
    assert min(times_seen) >= 1
    assert max(times_seen) <= (3 if length % 2 else 2)
    assert all(w.stop - w.start <= length for w in windows)
    assert times_seen[: max(1, length // 2)] == [1] * min(total, max(1, length // 2))
    assert len(windows) == 1 or total > length


def test_windows_of_a_prediction_that_is_local_change_nothing() -> None:
    x, t = torch.randn(2, 13, 1, 1, 3), torch.rand(2)
    torch.testing.assert_close(in_windows(lambda x, t: 2 * x, length=4)(x, t), 2 * x)


def test_windows_see_no_more_than_their_length_and_the_first_may_differ() -> None:
    lengths: list[int] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        lengths.append(x.shape[1])
        return torch.zeros_like(x)

    predicted = in_windows(predict, length=4, first=lambda x, t: torch.ones_like(x))
    result = predicted(torch.randn(1, 10, 1, 1, 1), torch.rand(1)).flatten()
    assert lengths == [4, 4, 4]
    assert result[:2].tolist() == [1, 1]
    assert 0 < result[3] < result[2] < 1
    assert not result[4:].any()


@pytest.mark.parametrize(("process", "sampler"), WALKS)
def test_known_latents_are_met_exactly(process: str, sampler: str) -> None:
    chosen, known = PROCESSES[process](), torch.randn(2, 2, 1, 1, 3)
    predict = continuing(exact_prediction(chosen), known, chosen)
    noise = torch.randn(2, 5, 1, 1, 3)
    x0 = sample(predict, noise, process=chosen, sampler=sampler, times=timestep_grid(7))
    torch.testing.assert_close(x0[:, :2], known, atol=1e-4, rtol=1e-4)
    assert not x0.requires_grad


def test_what_follows_heeds_what_is_known() -> None:
    """Data whose frames are all alike: a model that sees this continues a known frame with itself."""
    process = Flow()

    def predict(x: Tensor, t: Tensor) -> Tensor:
        """Exact for frames that are equal, standard normal: the conditional mean looks at all frames alike."""
        signal, sigma = per_sample(t, x), per_sample(1 - t, x)
        mean = signal * x.sum(1, keepdim=True) / (signal**2 * x.shape[1] + sigma**2)
        return process.prediction_of(x, mean.expand_as(x), t)

    known, noise = torch.full((1, 2, 1, 1, 1), 2.0), torch.randn(1, 4, 1, 1, 1)
    times = timestep_grid(50)
    held = sample(continuing(predict, known, process), noise, process=process, sampler="ab2", times=times)
    free = sample(predict, noise, process=process, sampler="ab2", times=times)
    assert (held[:, 2:] - 2).abs().max() < 0.5 * (free[:, 2:] - 2).abs().max()


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


def test_guidance_begins_and_ends_where_it_is_told_to() -> None:
    lengths: list[int] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        lengths.append(len(x))
        return x

    guided = with_guidance(predict, 3.0, since=0.1, until=0.5)
    for t in (0.0, 0.1, 0.49, 0.5, 0.9):
        guided(torch.randn(2, 4), torch.full((2,), t))
    assert lengths == [2, 4, 4, 2, 2]


def test_configs_know_every_sampler() -> None:
    assert set(SAMPLERS) == {sampler for samplers in SAMPLER_NAMES.values() for sampler in samplers}
