"""How fast soradit is, beside the machine's matrix multiplication and beside diffusers' video transformers.

    python benchmarks/speed.py [--batch N] [--quick] [--json]

Everything that is compared is timed in one alternating run (A B C A B C ...), after a round that is not counted;
medians are shown, and ratios of medians. FLOP are those of matrix multiplications, two to a multiply-add, and none
for recomputing attention in the backward pass. All models take 8 x 8 x 8 latents and 48 tokens of text a clip.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from machine import describe_run, markdown_heading, markdown_table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from soradit.__main__ import keep_freed_memory
from soradit.model.conditioning import TIMESTEP_FREQUENCIES
from soradit.model.dit import FRAME_HARMONICS, DiT, DiTConfig
from soradit.model.folder import INDEX, bundled_weights, has_component
from soradit.model.weights import load_transformer

GRID, WORDS = (8, 8, 8), 48
TOKENS = GRID[0] * GRID[1] * GRID[2]
GEMM_SIZES = (1024, 2048)
PROMPT = "sora is sky"

LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
output = child.stdout.read().decode()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
unit = 1 if sys.platform == "darwin" else 1024
code = os.waitstatus_to_exitcode(status)
print(json.dumps({"seconds": seconds, "bytes": usage.ru_maxrss * unit, "code": code, "output": output}))
"""
"""Runs a command and says what it took. A process's peak memory counts that of the one that started it, until it
has become the command; so a small one starts it, not this one."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to time; ``gigaflop`` is what one run computes."""

    name: str
    run: Callable[[], object]
    gigaflop: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A case's median; ``share_of_peak`` and ``times_ours`` compare it within the same run."""

    name: str
    seconds: float
    gigaflop: float
    gigaflop_per_second: float
    share_of_peak: float
    times_ours: float | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A transformer and the inputs it predicts from."""

    name: str
    model: nn.Module
    predict: Callable[[], Tensor]


def bundled_config() -> DiTConfig:
    """Sizes of the bundled transformer; the defaults while there is none."""
    folder = bundled_weights()
    return load_transformer(folder).config if has_component(folder, "transformer") else DiTConfig()


def soradit_transformer(config: DiTConfig, batch: int) -> Subject:
    model = DiT(config)
    latents = torch.randn(batch, *GRID, config.latent_channels)
    t, text = torch.rand(batch), torch.randn(batch, WORDS, config.text_dim)
    pooled = torch.randn(batch, config.pooled_dim)
    return Subject(name="soradit DiT", model=model, predict=lambda: model(latents, t, text, pooled))


def wan_transformer(config: DiTConfig, batch: int) -> Subject:
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dim,
        ffn_dim=config.mlp_ratio * config.width,
        num_layers=config.depth,
    )
    return _diffusers_subject("diffusers WanTransformer3DModel", model, config, batch)


def latte_transformer(config: DiTConfig, batch: int, *, num_layers: int) -> Subject:
    """With the settings of Latte's text-to-video weights. A layer of it is two blocks, in space and in time."""
    from diffusers import LatteTransformer3DModel

    model = LatteTransformer3DModel(
        patch_size=1,
        sample_size=GRID[1],
        video_length=GRID[0],
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        cross_attention_dim=config.width,
        caption_channels=config.text_dim,
        num_layers=num_layers,
        attention_bias=True,
        activation_fn="gelu-approximate",
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        num_embeds_ada_norm=1000,
    )
    return _diffusers_subject(f"diffusers LatteTransformer3DModel, {2 * num_layers} blocks", model, config, batch)


def _diffusers_subject(name: str, model: nn.Module, config: DiTConfig, batch: int) -> Subject:
    inputs = {
        "hidden_states": torch.randn(batch, config.latent_channels, *GRID),
        "timestep": torch.randint(1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, WORDS, config.text_dim),
    }
    return Subject(name=name, model=model, predict=lambda: model(**inputs, return_dict=False)[0])


def subjects(config: DiTConfig, batch: int) -> list[Subject]:
    """Ours first, then the peers that are installed; Latte with as many blocks, and with as many layers."""
    found = [soradit_transformer(config, batch)]
    try:
        found.append(wan_transformer(config, batch))
        found += [latte_transformer(config, batch, num_layers=n) for n in (config.depth // 2, config.depth)]
    except ImportError:
        print("diffusers is not installed: its transformers are not timed (pip install diffusers)", file=sys.stderr)
    for subject in found:
        _fill_with_noise(subject.model)
    return found


@torch.no_grad()
def _fill_with_noise(model: nn.Module) -> None:
    """No model is timed on the zeros that it starts from."""
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.normal_(std=0.02)


def forward_flop(config: DiTConfig, batch: int) -> int:
    """Of soradit's DiT, in closed form."""
    return sum(flop for flop, _ in _matrix_products(config, batch))


def training_flop(config: DiTConfig, batch: int) -> int:
    """The backward pass multiplies twice, for the gradients of both factors, or once where one is an input."""
    return sum(flop * (3 if needs_both else 2) for flop, needs_both in _matrix_products(config, batch))


def _matrix_products(config: DiTConfig, batch: int) -> list[tuple[int, bool]]:
    """The FLOP of each product, and whether both its factors need a gradient."""
    width, half = config.width, config.width // 2
    tokens = batch * TOKENS
    block = [
        (batch * width * 6 * width, True),  # scales, shifts and gates
        (tokens * width * 3 * width, True),  # queries, keys and values
        (batch * WORDS * config.text_dim * 2 * width, False),  # the text's keys and values
        (2 * tokens * (TOKENS + WORDS) * width, True),  # attention matrix, attention pooling
        (tokens * width * width, True),
        (2 * tokens * width * config.mlp_ratio * width, True),
    ]
    around = [
        (batch * TIMESTEP_FREQUENCIES * half, False),
        (batch * half * half, True),
        (batch * config.pooled_dim * (width - half), False),
        (tokens * (config.latent_channels + 4 * FRAME_HARMONICS) * width, False),
        (batch * width * 2 * width, True),
        (tokens * width * config.latent_channels, True),
    ]
    return [(2 * multiplications, both) for multiplications, both in [*config.depth * block, *around]]


def counted_flop(run: Callable[[], object]) -> int:
    """Of whatever runs; attention is spelt out as two products, so that none is counted as recomputed."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def check_flop(config: DiTConfig, batch: int, forward: Case, training: Case) -> None:
    """The closed form and the counter agree, to the last multiplication."""
    for case, flop in ((forward, forward_flop(config, batch)), (training, training_flop(config, batch))):
        if round(case.gigaflop * 1e9) != flop:
            raise AssertionError(f"{case.name}: {case.gigaflop} GFLOP counted, {flop / 1e9} in closed form")


def gemm_case(n: int) -> Case:
    a, b, product = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return Case(name=f"GEMM {n}", run=lambda: torch.mm(a, b, out=product), gigaflop=2e-9 * n**3)


def training_step(subject: Subject) -> Callable[[], None]:
    """Forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(subject.model.parameters(), lr=1e-4, fused=True)

    def train() -> None:
        subject.predict().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def transformer_cases(subject: Subject) -> tuple[Case, Case]:
    """The forward pass, and a training step."""
    train = training_step(subject)

    @torch.inference_mode()
    def forward() -> None:
        subject.predict()

    return (
        Case(name=f"{subject.name}, forward", run=forward, gigaflop=counted_flop(forward) / 1e9),
        Case(name=f"{subject.name}, training step", run=train, gigaflop=counted_flop(train) / 1e9),
    )


def compiled_cases(config: DiTConfig, batch: int, plain: Case) -> list[Case]:
    """The training step of ``soradit train --compile``, which computes what the ``plain`` one does."""
    if shutil.which("g++") is None:
        print("there is no C++ compiler: the compiled training step is not timed", file=sys.stderr)
        return []
    subject = soradit_transformer(config, batch)
    _fill_with_noise(subject.model)
    subject.model.compile_blocks()
    return [Case(name=f"{plain.name}, compiled", run=training_step(subject), gigaflop=plain.gigaflop)]


def alternate(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round after round; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def time_transformers(config: DiTConfig, batch: int, rounds: int) -> list[Timing]:
    """GEMM first, then forward passes and training steps, ours before the peers'."""
    gemms = [gemm_case(n) for n in GEMM_SIZES]
    models = [transformer_cases(subject) for subject in subjects(config, batch)]
    check_flop(config, batch, *models[0])
    compiled = compiled_cases(config, batch, plain=models[0][1])
    cases = [*gemms, *(case for kind in zip(*models, strict=True) for case in kind), *compiled]
    seconds = alternate({case.name: case.run for case in cases}, rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    peak = max(case.gigaflop / medians[case.name] for case in gemms)
    ours = {case.name: mine.name for pair in models for case, mine in zip(pair, models[0], strict=True)}
    ours |= {case.name: models[0][1].name for case in compiled}
    return [
        Timing(
            name=case.name,
            seconds=medians[case.name],
            gigaflop=case.gigaflop,
            gigaflop_per_second=case.gigaflop / medians[case.name],
            share_of_peak=case.gigaflop / medians[case.name] / peak,
            times_ours=medians[case.name] / medians[ours[case.name]] if case.name in ours else None,
        )
        for case in cases
    ]


def launch(*arguments: str) -> dict:
    """Run soradit as a process of its own: its seconds, its peak memory in bytes, its output."""
    script = Path(sys.executable).with_name("soradit")
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "soradit"]
    launcher = [sys.executable, "-c", LAUNCHER, *command, *arguments]
    result = json.loads(subprocess.run(launcher, check=True, stdout=subprocess.PIPE).stdout)
    if result["code"] != 0:
        raise SystemExit(f"soradit {' '.join(arguments)} ended with exit code {result['code']}")
    return result


def time_commands(rounds: int) -> dict[str, float]:
    """Whole processes, one kind after the other; further clips are those of one process after its first."""
    figures = {"soradit --help, seconds": statistics.median(launch("--help")["seconds"] for _ in range(5))}
    if not (bundled_weights() / INDEX).is_file():
        print(f"no weights at {bundled_weights()}: generate is not timed", file=sys.stderr)
        return figures
    cold, clips = [], []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds):
            cold.append(launch("generate", PROMPT, "-o", f"{folder}/cold-{round_}.mp4"))
            many = launch("generate", PROMPT, "--count", "3", "--json", "-o", f"{folder}/many-{round_}.mp4")
            clips += [json.loads(line)["seconds"] for line in many["output"].splitlines()[1:]]
    figures["generate from cold, seconds"] = statistics.median(run["seconds"] for run in cold)
    figures["generate from cold, peak memory in GB"] = max(run["bytes"] for run in cold) / 1e9
    figures["generate, a further clip, seconds"] = statistics.median(clips)
    return figures


def print_markdown(
    run: dict[str, str], config: DiTConfig, batch: int, timings: list[Timing], figures: dict[str, float]
) -> None:
    print(markdown_heading(run) + "\n")
    print(
        f"Width {config.width}, depth {config.depth}, {config.heads} heads, {TOKENS} tokens, batch {batch}, float32; "
        f"the peak is that of the faster GEMM.\n"
    )
    columns = ["", "seconds", "GFLOP", "GFLOP/s", "of the peak", "seconds / ours"]
    rows = [
        [
            timing.name,
            f"{timing.seconds:.3f}",
            f"{timing.gigaflop:.1f}",
            f"{timing.gigaflop_per_second:.0f}",
            f"{timing.share_of_peak:.0%}",
            "" if timing.times_ours is None else f"{timing.times_ours:.2f}",
        ]
        for timing in timings
    ]
    print(markdown_table(columns, rows) + "\n")
    print(markdown_table(["commands", ""], [[name, f"{figure:.2f}"] for name, figure in figures.items()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=2, help="clips a forward pass or a training step")
    parser.add_argument("--quick", action="store_true", help="a few rounds: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    options = parser.parse_args()
    keep_freed_memory()  # as commands do
    torch.manual_seed(0)
    run, config = describe_run(), bundled_config()
    figures = time_commands(1 if options.quick else 5)
    timings = time_transformers(config, options.batch, 3 if options.quick else 21)
    if options.json:
        print(json.dumps({**run, "config": asdict(config), "timings": [asdict(t) for t in timings], **figures}))
    else:
        print_markdown(run, config, options.batch, timings, figures)


if __name__ == "__main__":
    main()
