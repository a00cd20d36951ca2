"""Shapes in soradit's signatures are checked while tests run; clips and weights that many tests share."""

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # of commands that tests start
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="soradit-tests-")  # prompts' embeddings, of tests alone
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
install_import_hook("soradit", "typechecker.check")
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores, and all it starts
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as one under nohup does this

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # tiny tensors: a second thread gains nothing, and waits on a busy machine

NUM_CLIPS = 8
SIZE = {"height": 64, "width": 64}
NUM_FRAMES = 20
"""Of a clip; training windows are 16 frames long."""


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small rendered skies with captions. Don't write into it: copy it."""
    from soradit.media.writing import write_video
    from soradit.skies.captions import captions
    from soradit.skies.render import render
    from soradit.skies.scene import draw_scene

    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for seed in range(NUM_CLIPS):
        scene = draw_scene(seed)
        write_video(folder / f"{seed}.mp4", render(scene, num_frames=NUM_FRAMES, fps=16, **SIZE), fps=16)
        rows.append({"file_name": f"{seed}.mp4", "text": captions(scene, seed, 2)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def weights(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny weights, each part trained for a few steps on ``clips``. Don't write into it: copy it."""
    from soradit.media.clips import find_clips
    from soradit.media.video import read_video
    from soradit.model.autoencoder import Autoencoder, AutoencoderConfig
    from soradit.model.config import GenerationConfig
    from soradit.model.dit import DiT, DiTConfig
    from soradit.model.fitting import fit_autoencoder
    from soradit.model.text import TextEncoderConfig, new_text_encoder
    from soradit.model.weights import save_generation_config, save_transformer
    from soradit.report import Report
    from soradit.tasks.encode import encode
    from soradit.tasks.train import train
    from soradit.training.autoencoder import AutoencoderObjective
    from soradit.training.cache import segments_of
    from soradit.training.config import LoopConfig, TrainConfig
    from soradit.training.loop import run_loop
    from soradit.training.text_encoder import TextEncoderObjective, TwoTowers

    torch.manual_seed(0)
    base = tmp_path_factory.mktemp("base")
    found = find_clips(clips)
    generation = GenerationConfig(**SIZE, num_frames=16, steps=2)
    shared = {"batch_size": 4, "seed": 0, "device": torch.device("cpu")}
    loop = LoopConfig(steps=2, batch_size=4, warmup_steps=1)

    autoencoder = Autoencoder(AutoencoderConfig(widths=(32, 48, 64), blocks_per_stage=1, latent_channels=16))
    frames = [read_video(clip.path, num_frames=16)[0] for clip in found]
    fit_autoencoder(autoencoder, torch.stack([torch.from_numpy(f) for f in frames]), seed=0)
    objective = AutoencoderObjective(
        autoencoder,
        training=found,
        held_out=found[:1],
        seconds=dict.fromkeys((clip.path for clip in found), NUM_FRAMES / 16),
        generation=generation,
        precision=torch.float32,
        **shared,
    )
    save_generation_config(base, generation)
    run_loop(objective, loop, base, resume_from=None, report=Report(), describe={})

    text = new_text_encoder(
        [caption for clip in found for caption in clip.captions],
        TextEncoderConfig(max_tokens=24, width=32, depth=2, heads=2, pooled_dim=32),
        seed=0,
    )
    text.save(base)
    cache_folder = clips / ".soradit-cache"
    cache = encode(found, weights=base, config=generation, cache_folder=cache_folder, captions=False).cache
    segments = [segment for clip in found for segment in segments_of(clip, cache.latents_path(clip))]
    towers = TwoTowers(text, latent_channels=16, length=4)
    contrast = TextEncoderObjective(towers, training=segments, held_out=segments, length=4, token_frames=4, **shared)
    run_loop(contrast, loop, base, resume_from=None, report=Report(), describe={})

    dit = DiT(DiTConfig(depth=2, width=48, heads=2, latent_channels=16, text_dim=32, pooled_dim=32))
    save_transformer(base, dit.config, dit.state_dict())
    config = TrainConfig(data=clips, run=tmp_path_factory.mktemp("weights"), weights=str(base), **SIZE, num_frames=16)
    return train(config, LoopConfig(steps=4, batch_size=4, learning_rate=1e-2, warmup_steps=1))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failure leaves on stderr, after notes and progress."""
        *_, last = self.err.splitlines()
        assert last.startswith("soradit: ")
        assert "Traceback" not in self.err
        return last


@pytest.fixture
def soradit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run ``soradit`` as its entry point does, in this process, which has torch loaded already."""
    from soradit.__main__ import main

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["soradit", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(exit_code=ended.value.code or 0, out=out, err=err)

    return run
