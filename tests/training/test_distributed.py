"""Several processes train as one would: the same losses, one writer, and checkpoints that any number can go on from."""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor

from soradit.errors import StateSaved
from soradit.model.dit import DiT, DiTConfig
from soradit.report import Report
from soradit.training.checkpoint import list_checkpoints
from soradit.training.config import LoopConfig
from soradit.training.distributed import ALONE, World, parallelize
from soradit.training.journal import Journal
from soradit.training.loop import run_loop
from soradit.training.metrics import read_metrics
from soradit.training.randomness import generator
from soradit.training.snapshots import list_snapshots
from soradit.training.stop import Stop

CONFIG = LoopConfig(
    steps=6, batch_size=8, learning_rate=0.01, warmup_steps=1, snapshots=2, evaluate_every=3, checkpoint_every=2
)
FORK = multiprocessing.get_context("fork")


class Denoiser:
    """A tiny DiT that predicts noise."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        sizes = {"latent_channels": 4, "text_dim": 8, "pooled_dim": 8}
        self.model = DiT(DiTConfig(depth=2, width=24, heads=2, **sizes))
        self.network: torch.nn.Module = self.model

    def batch(self, step: int, part: slice) -> Tensor:
        return torch.randn(CONFIG.batch_size, 1, 2, 2, 4, generator=generator(0, step))[part]

    def examples(self, step: int) -> list[str]:
        return []

    def loss(self, batch: Tensor, step: int) -> Tensor:
        return self._loss(self.network, batch)

    def _loss(self, network: torch.nn.Module, batch: Tensor) -> Tensor:
        size = len(batch)
        prediction = network(0.5 * batch, torch.full((size,), 0.5), torch.ones(size, 3, 8), torch.ones(size, 8))
        return (prediction - batch).square().mean()

    def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
        poll()
        return {"held_out_loss": self._loss(self.model, self.batch(99, slice(None))).item()}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        assert not dist.is_initialized() or dist.get_rank() == 0
        assert {name: t.shape for name, t in tensors.items()} == {n: t.shape for n, t in DENOISER_SHAPES.items()}


DENOISER_SHAPES = Denoiser().model.state_dict()


def run(folder: Path, config: LoopConfig, world: World = ALONE, *, shard: bool = False, hurry: bool = False) -> None:
    objective = Denoiser()
    objective.network = parallelize(objective.model, world, shard=shard)
    found = list_checkpoints(folder)
    stop = Stop(folder, 1e-9 if hurry and world.rank == world.size - 1 else None)
    stop.agree = world.agree
    run_loop(
        objective,
        config,
        folder,
        resume_from=found[-1] if found else None,
        report=Report(),
        describe={},
        journal=partial(Journal, folder, batch_size=config.batch_size, writes=world.is_first),
        stop=stop,
        world=world,
    )


def run_in_two(folder: Path, config: LoopConfig, **options: bool) -> list[int]:
    """Return their exit codes: 75 for a saved state."""
    folder.mkdir(exist_ok=True)
    store = folder / f"store-{len(list(folder.glob('store-*')))}"

    def work(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        try:
            run(folder, config, World(rank=rank, size=2), **options)
        except StateSaved:
            sys.exit(75)
        finally:
            dist.destroy_process_group()

    processes = [FORK.Process(target=work, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    return [process.exitcode or 0 for process in processes]


def figures(folder: Path) -> list[list[float]]:
    names = ("loss", "gradient_norm", "held_out_loss")
    return [[float(row[name] or 0) for name in names] for row in read_metrics(folder / "metrics.csv")]


def assert_same_end(folder: Path, other: Path) -> None:
    torch.testing.assert_close(torch.tensor(figures(folder)), torch.tensor(figures(other)), rtol=1e-4, atol=1e-5)
    first, second = (list_checkpoints(f)[-1] for f in (folder, other))
    assert {p.name for p in first.iterdir()} == {p.name for p in second.iterdir()}
    files = [*first.glob("*.safetensors"), *(snapshot.path for snapshot in list_snapshots(folder))]
    assert len(files) == 3 + 2 + 2 * 2
    for file in files:
        a, b = load_file(file), load_file(other / file.relative_to(folder))
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name].float(), b[name].float(), rtol=1e-3, atol=1e-4)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    run(tmp_path / "alone", CONFIG)
    return tmp_path / "alone"


@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_train_as_one_does(tmp_path: Path, alone: Path, shard: bool, accumulate: int) -> None:
    config = LoopConfig(**{**vars(CONFIG), "accumulate": accumulate})
    assert run_in_two(tmp_path / "two", config, shard=shard) == [0, 0]
    assert_same_end(tmp_path / "two", alone)


@pytest.mark.parametrize("shard", [False, True])
def test_a_run_goes_on_in_another_number_of_processes(tmp_path: Path, alone: Path, shard: bool) -> None:
    """One step alone, one in two that one of them stops, the rest alone again."""
    folder = tmp_path / "run"
    with pytest.raises(StateSaved, match="step 1 of 6"):
        run(folder, CONFIG, hurry=True)
    assert run_in_two(folder, CONFIG, shard=shard, hurry=True) == [75, 75]
    assert list_checkpoints(folder)[-1].name == "step-00000002"
    run(folder, CONFIG)
    assert_same_end(folder, alone)


def test_a_batch_is_shared_out_whole() -> None:
    for size, accumulate in ((1, 1), (2, 1), (2, 3), (3, 2)):
        parts = [part for rank in range(size) for part in World(rank=rank, size=size).parts(12, accumulate)]
        assert [i for part in parts for i in range(12)[part]] == list(range(12))


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def torchrun_command(*arguments: object, restarts: int = 0) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    return [*command, f"--max-restarts={restarts}", *map(str, arguments)]


def torchrun(*arguments: object, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    command = torchrun_command(*arguments, restarts=restarts)
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_the_command_under_torchrun_trains_as_it_does_alone(clips: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ["--data", clips, "--weights", weights, "--steps", 4, "--batch-size", 4, "--evaluate-every", 2]
    arguments += ["--precision", "float32"]
    for name, start in (("alone", [sys.executable]), ("two", None)):
        command = ["-m", "soradit", "train", *arguments, "--cache", tmp_path / f"{name}.cache", "-o", tmp_path / name]
        ended = torchrun(*command) if start is None else subprocess.run([*start, *map(str, command)])
        assert ended.returncode == 0, ended.stderr
    torch.testing.assert_close(
        torch.tensor(figures(tmp_path / "two")), torch.tensor(figures(tmp_path / "alone")), rtol=1e-4, atol=1e-5
    )
    assert ended.stdout.strip() == str(tmp_path / "two")


DIES_ONCE = """
import os, sys
from pathlib import Path
import soradit.training.loop as loop
step = loop.Training.step
def dying(self, parts):
    mark = Path(sys.argv[sys.argv.index("-o") + 1]) / "died"
    if self.state.step == 3 and self.world.rank == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return step(self, parts)
loop.Training.step = dying
from soradit.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_killed_worker_restarts_from_the_last_checkpoint(clips: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    arguments = ["--data", clips, "--weights", weights, "--steps", 5, "--batch-size", 4, "--checkpoint-every", 2]
    ended = torchrun(tmp_path / "dies_once.py", "train", *arguments, "-o", tmp_path / "run", restarts=1)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "died").exists()
    assert "step-00000002" in ended.stderr
    assert torchrun("-m", "soradit", "train", *arguments, "-o", tmp_path / "unbroken").returncode == 0
    assert figures(tmp_path / "run") == figures(tmp_path / "unbroken")
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.csv")] == ["1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_the_state(clips: Path, weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["-m", "soradit", "train", "--data", clips, "--weights", weights, "--batch-size", 4, "-o", run]
    process = subprocess.Popen(torchrun_command(*arguments, "--steps", 10_000), env=ENVIRONMENT)
    try:
        until = time.monotonic() + 200
        while not read_metrics(run / "metrics.csv"):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        process.terminate()
        assert process.wait(60) != 0
    finally:
        process.kill()
    (checkpoint,) = list_checkpoints(run)
    saved = int(checkpoint.name.removeprefix("step-"))
    assert f"SIGTERM: state saved at step {saved} of 10000" in (run / "log.txt").read_text()
    assert torchrun(*arguments, "--steps", saved + 1).returncode == 0
    assert len(read_metrics(run / "metrics.csv")) == saved + 1


@pytest.mark.slow
def test_torchrun_restarts_no_training_that_was_asked_to_stop(clips: Path, weights: Path, tmp_path: Path) -> None:
    """The loop of docs/clusters.md: torchrun's exit code is 1, and the log's last line says why."""
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
    (script,) = re.findall(r"```sh\n(until torchrun .*?)```", page, re.DOTALL)
    command = f"{shlex.quote(sys.executable)} -m torch.distributed.run --standalone"
    arguments = f"--data {shlex.quote(str(clips))} --weights {shlex.quote(str(weights))} --max-hours 1e-9"
    changes = {
        "torchrun": command,
        "--nproc-per-node=4": "--nproc-per-node=2",
        "--max-restarts=3": "--max-restarts=1",
        "--data clips": arguments,
        "--batch-size 64": "--batch-size 2",
        "--steps 100000": "--steps 2",
    }
    for there, here in changes.items():
        assert there in script
        script = script.replace(there, here)
    ended = subprocess.run(["bash", "-uc", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "exitcode  : 75" in ended.stderr
    assert (tmp_path / "run" / "log.txt").read_text().count("state saved at step 1 of 2") == 1
    assert [int(row["step"]) for row in read_metrics(tmp_path / "run" / "metrics.csv")] == [1, 2]
