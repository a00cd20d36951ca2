"""The two processes: from pure noise at t = 0 to clean at t = 1, and what is learnt from it."""

import math

import pytest
import torch

from soradit.diffusion.process import PROCESSES, Flow, Noise, Process, min_snr_weight, move_timesteps, timestep_grid


@pytest.fixture(params=sorted(PROCESSES))
def process(request: pytest.FixtureRequest) -> Process:
    return PROCESSES[request.param]()


def test_clean_at_one_and_noise_at_zero(process: Process) -> None:
    x0, noise = torch.randn(2, 1, 3, 4)
    assert torch.equal(process.add_noise(x0, noise, torch.ones(1)), x0)
    leftover = process.signal(torch.zeros(1)).item()
    assert leftover < 0.01
    torch.testing.assert_close(process.add_noise(x0, noise, torch.zeros(1)), noise, atol=4 * leftover, rtol=0)


def test_the_larger_t_the_smaller_the_noise(process: Process) -> None:
    t = torch.linspace(0, 1, 501)
    assert (process.sigma(t).diff() < 0).all()
    assert (process.signal(t).diff() > 0).all()


def test_each_sample_has_its_own_noise_level(process: Process) -> None:
    x0, noise, t = torch.zeros(4, 2, 50_000), torch.randn(4, 2, 50_000), torch.tensor([0.1, 0.3, 0.6, 0.9])
    std = process.add_noise(x0, noise, t).flatten(1).std(1)
    torch.testing.assert_close(std, process.sigma(t), rtol=0.02, atol=0)


def test_noise_preserves_variance() -> None:
    t = torch.rand(100)
    torch.testing.assert_close(Noise().signal(t) ** 2 + Noise().sigma(t) ** 2, torch.ones(100))


def test_alpha_bar_is_the_product_of_the_paper() -> None:
    steps = (0, 1, 499, 998, 999)
    t = torch.tensor([1 - (n + 1) / 1000 for n in steps])
    betas = [1e-4 + (0.02 - 1e-4) * n / 999 for n in range(1000)]
    products = torch.tensor([math.prod(1 - beta for beta in betas[: n + 1]) for n in steps])
    torch.testing.assert_close(Noise().alpha_bar(t), products, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "target"), [("flow", 3.0 - 1.0), ("noise", 1.0)])
def test_target_and_loss(name: str, target: float) -> None:
    process, x0, noise = PROCESSES[name](), torch.full((2, 5), 3.0), torch.ones(2, 5)
    assert torch.equal(process.target(x0, noise), torch.full((2, 5), target))
    prediction = torch.tensor([[target] * 5, [target + 2, target, target, target, target - 1]])
    assert process.loss(prediction, x0, noise).tolist() == [0, 1]


def test_velocity_is_the_derivative_of_the_noised_latents() -> None:
    process, x0, noise = Flow(), *torch.randn(2, 3, 4, dtype=torch.float64)
    earlier, later = torch.full((3,), 0.4, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64)
    slope = (process.add_noise(x0, noise, later) - process.add_noise(x0, noise, earlier)) / 0.1
    torch.testing.assert_close(process.target(x0, noise), slope)


def test_flow_draws_pure_noise_and_logit_normal_timesteps() -> None:
    t = Flow().draw_timesteps(100_000, torch.Generator().manual_seed(0))
    assert abs((t == 0).float().mean() - Flow.PURE_NOISE) < 0.005
    logits = t[t > 0].logit()
    assert abs(logits.mean()) < 0.02
    assert abs(logits.std() - 1) < 0.02


def test_noise_draws_each_of_its_steps_evenly() -> None:
    t = Noise().draw_timesteps(200_000, torch.Generator().manual_seed(0))
    steps = ((1 - t) * 1000).round()
    assert (steps.min(), steps.max()) == (1, 1000)
    counts = torch.bincount(steps.long(), minlength=1001)[1:].float()
    assert (counts > 0).all()
    assert counts.std() < 1.2 * 200**0.5


def test_the_same_generator_draws_the_same_timesteps(process: Process) -> None:
    first, second = (process.draw_timesteps(16, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_grid_runs_from_noise_to_clean(shift: float) -> None:
    times = timestep_grid(10, shift)
    assert (times[0], times[-1], len(times)) == (0, 1, 11)
    assert (times.diff() > 0).all()
    assert torch.sign(times[5] - 0.5) == torch.sign(torch.tensor(1 - shift))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_a_shift_is_that_of_stable_diffusion_3(shift: float) -> None:
    noise_level = torch.linspace(0, 1, 11)
    equation_23 = shift * noise_level / (1 + (shift - 1) * noise_level)
    torch.testing.assert_close(move_timesteps(1 - noise_level, shift), 1 - equation_23)


def test_logit_normal_timesteps_stay_so_when_moved() -> None:
    t = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).sigmoid()
    logits = torch.logit(move_timesteps(t, shift=3.0, spread=1.5))
    assert logits.mean().item() == pytest.approx(-math.log(3), abs=0.03)
    assert logits.std().item() == pytest.approx(1.5, abs=0.03)


def test_min_snr_weighs_all_of_at_most_gamma_alike_and_cuts_the_rest_to_it() -> None:
    t = torch.linspace(0, 0.99, 100)
    snr = (Noise().signal(t) / Noise().sigma(t)).square()
    weight = min_snr_weight(Noise(), t, gamma=5.0)
    assert (weight[snr <= 5] == 1).all()
    torch.testing.assert_close((weight * snr)[snr > 5], torch.full_like(snr, 5.0)[snr > 5])
    assert min_snr_weight(Noise(), torch.ones(1), gamma=5.0).isfinite().all()
