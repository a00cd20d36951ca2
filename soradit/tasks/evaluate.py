"""``soradit evaluate``: how good a set of weights is, by a pinned protocol."""

import hashlib
import json
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

import soradit
from soradit.device import name_of
from soradit.errors import SoraditError
from soradit.evaluation.config import GENERATED, NONE, PAGE, RESULTS, EvaluateConfig
from soradit.evaluation.facts import facts_of
from soradit.evaluation.features import FeatureNetwork, load_network
from soradit.evaluation.look import Look, look, window_features
from soradit.evaluation.memory import nearest
from soradit.evaluation.page import render_page
from soradit.evaluation.result import Evaluation, Nearest, Protocol, Sample
from soradit.evaluation.scores import (
    Score,
    TrainingFeatures,
    agreement_scores,
    frechet_scores,
    measure_scores,
    memory_scores,
)
from soradit.files import write_whole
from soradit.media.clips import Clip, find_clips, split_clips
from soradit.media.video import read_video
from soradit.model.config import GenerationConfig, latent_grid
from soradit.model.folder import BUNDLED, IDENTITY, find_weights, require_no_lora
from soradit.pipeline import Pipeline
from soradit.report import Report
from soradit.training.run import RUN_CONFIG

VERSION = 2
"""The protocol's version: raised whenever the same clips would get other figures."""
_FEW = 50
"""Fewer clips make Fréchet distances, and shares, of little worth."""


def evaluate(config: EvaluateConfig, report: Report | None = None) -> Evaluation:
    """Generate a clip for a caption of each held-out clip, compare, and write ``evaluation.json`` and an HTML page.

    Generated clips stay in the output folder, named by all that decides them: what was interrupted goes on.

    Raises SoraditError, before any work, for weights, clips, a network or an output that can't be used.
    """
    report = report or Report()
    held_out, training = _choose_clips(config, report)
    require_no_lora(find_weights(config.weights))
    pipeline = Pipeline.load(config.weights, device=config.device, precision=config.precision)
    settings = pipeline.with_overrides(steps=config.steps, guidance=config.guidance)
    latent_grid(settings, pipeline.autoencoder.config.token_size)
    network = None if config.features == NONE else load_network(config.features, pipeline.device)
    _prepare_output(config)

    real = _look_at_real(held_out, config.count, settings, network, report)
    generator = _Generator(pipeline, settings, config.output / GENERATED)
    samples = generator.sample([(_prompt(clip), clip, seen) for clip, seen in real], network, report)
    words = synonyms(len(samples)) if _about_skies(samples, report) else []
    others = generator.sample([(prompt, None, None) for prompt in words], None, report)
    learnt = _look_at_training(training, len(samples), settings, network, report) if network and training else None
    samples = _with_nearest(samples, learnt)
    protocol = Protocol(
        version=VERSION,
        soradit=soradit.__version__,
        weights=config.weights or BUNDLED,
        weights_fingerprint=pipeline.identity,
        precision=name_of(pipeline.precision),
        settings=settings,
        data=str(config.data),
        held_out_clips=len(samples),
        training_clips=len(training),
        synonyms=len(others),
        features=config.features,
        features_sha256=network.sha256 if network else None,
    )
    scores = _scores(samples, others, learnt) + _costs(find_weights(config.weights), generator.seconds)
    found = Evaluation(protocol=protocol, scores=scores, samples=samples, synonyms=others)
    _write(config.output, found, report)
    return found


def _write(folder: Path, found: Evaluation, report: Report) -> None:
    report.note(f"writing {folder / RESULTS} and {folder / PAGE}")
    write_whole(folder / RESULTS, json.dumps(found.to_dict(), indent=1) + "\n")
    write_whole(folder / PAGE, render_page(found))  # which takes a minute for its videos


def synonyms(count: int) -> list[str]:
    """The protocol's own prompts, at most ``count`` from all headings: skies, in words that captions rarely use."""
    text = files("soradit.evaluation").joinpath("synonyms.txt").read_text(encoding="utf-8")
    prompts = [line for line in text.splitlines() if line and not line.startswith("#")]
    return prompts[:: math.ceil(len(prompts) / count)]


def _prepare_output(config: EvaluateConfig) -> None:
    try:
        (config.output / GENERATED).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(
            f"{config.output}: can't be made a folder ({error.strerror}): choose another with -o"
        ) from error


def _choose_clips(config: EvaluateConfig, report: Report) -> tuple[list[Clip], list[Clip]]:
    """Held-out clips and training clips, each in an order that is as good as random, and stays when clips are added."""
    clips = find_clips(config.data)
    if config.training is not None:
        training, held_out = find_clips(config.training), clips
    elif config.all_held_out:
        training, held_out = [], clips
    else:
        _require_split(config)
        training, held_out = split_clips(clips)
    if not held_out:
        raise SoraditError(f"{config.data}: has no clip to hold out; give more, or --all if none was trained on")
    if (few := min(len(held_out), config.count)) < _FEW:
        report.note(f"{few} held out: figures of less than {_FEW} clips say little")
    if not training and config.features != NONE:
        report.note("without clips that were trained on, nothing tells whether clips are remembered: give --training")
    return sorted(held_out, key=digest_of), sorted(training, key=digest_of)


def _require_split(config: EvaluateConfig) -> None:
    """Raises SoraditError for a run that held out other clips, and so was trained on all of its own."""
    weights = find_weights(config.weights)
    held_out = None
    for run in (weights, weights.parent):  # of RUN/best
        with suppress(OSError, ValueError, KeyError, TypeError):  # no run, or one from before there was the option
            held_out = json.loads((run / RUN_CONFIG).read_text(encoding="utf-8"))["train"]["held_out"]
            break
    if held_out is not None:
        raise SoraditError(
            f"{weights} was trained with --held-out {held_out}: evaluate with --data {held_out} and --training or --all"
        )


def digest_of(clip: Clip) -> int:
    """What clips are ordered by: a number that depends on the file's name alone."""
    digest = hashlib.sha256(f"evaluate {clip.path.name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _prompt(clip: Clip) -> str:
    """One of the clip's captions, always the same."""
    return clip.captions[digest_of(clip) % len(clip.captions)]


def _window(clip: Clip, settings: GenerationConfig) -> np.ndarray:
    """The clip's first frames, as uint8 (T, H, W, 3), just as long as a generated clip."""
    size = (settings.height, settings.width)
    frames, _ = read_video(clip.path, fps=settings.fps, size=size, num_frames=settings.num_frames)
    if len(frames) < settings.num_frames:
        raise SoraditError(f"{clip.path}: has {len(frames)} of {settings.num_frames} frames at {settings.fps} fps")
    return frames


def _windows(clips: list[Clip], settings: GenerationConfig, report: Report) -> Iterable[tuple[Clip, np.ndarray]]:
    """Windows of the clips that can be read and are long enough."""
    for clip in clips:
        try:
            frames = _window(clip, settings)
        except SoraditError as error:
            report.note(f"left out: {error}")
            continue
        yield clip, frames


def _look_at_real(
    clips: list[Clip], count: int, settings: GenerationConfig, network: FeatureNetwork | None, report: Report
) -> list[tuple[Clip, Look]]:
    count = min(count, len(clips))
    looks = []
    with report.progress("looking at held-out clips", count) as progress:
        for clip, frames in islice(_windows(clips, settings, report), count):
            looks.append((clip, look(frames, settings.fps, network)))
            progress.update(len(looks))
    if not looks:
        raise SoraditError(f"none of {len(clips)} held-out clips can be used: soradit check tells why")
    return looks


def _look_at_training(
    clips: list[Clip], count: int, settings: GenerationConfig, network: FeatureNetwork, report: Report
) -> TrainingFeatures:
    """Windows of ``count`` clips, and a frame a second of all."""
    windows: list[np.ndarray] = []
    frames: list[np.ndarray] = []
    names: list[str] = []
    with report.progress("looking at training clips", len(clips)) as progress:
        for done, clip in enumerate(clips, start=1):
            try:
                window = window_features(_window(clip, settings), network) if len(windows) < count else None
                every_second, _ = read_video(clip.path, fps=1, size=(settings.height, settings.width))
                frames.append(network(every_second))
                names += [str(clip.path)] * len(every_second)
                if window is not None:
                    windows.append(window)
            except SoraditError as error:
                report.note(f"left out: {error}")
            progress.update(done)
    if not windows:
        raise SoraditError(f"none of {len(clips)} training clips can be used: soradit check tells why")
    return TrainingFeatures(windows=windows, frames=np.concatenate(frames), clips=names)


def _with_nearest(samples: list[Sample], training: TrainingFeatures | None) -> list[Sample]:
    """The samples, each with the training clip that it is most like."""
    if training is None:
        return samples
    views = np.stack([sample.look.views for sample in samples if sample.look.views is not None])
    distances, frames = nearest(views, training.frames)
    return [
        replace(sample, nearest=Nearest(clip=training.clips[frame], distance=float(distance)))
        for sample, distance, frame in zip(samples, distances, frames, strict=True)
    ]


class _Generator:
    """Generates the clips that are not there yet, and keeps the time that each took."""

    def __init__(self, pipeline: Pipeline, settings: GenerationConfig, folder: Path) -> None:
        self.pipeline, self.settings, self.folder = pipeline, settings, folder
        self.seconds: list[float] = []

    def sample(
        self, wanted: list[tuple[str, Clip | None, Look | None]], network: FeatureNetwork | None, report: Report
    ) -> list[Sample]:
        """A clip for each prompt, with seeds that count up from 0, and a look at it."""
        samples = []
        with report.progress("generating", len(wanted)) as progress:
            for seed, (prompt, clip, real) in enumerate(wanted):
                path = self._generate(prompt, seed)
                frames, fps = read_video(path)  # as users get it
                seen = look(frames, fps, network)
                stated = facts_of(prompt)
                samples.append(
                    Sample(prompt=prompt, seed=seed, path=path, stated=stated, look=seen, clip=clip, real=real)
                )
                progress.update(seed + 1)
        return samples

    def _generate(self, prompt: str, seed: int) -> Path:
        made = [soradit.__version__, self.pipeline.identity, name_of(self.pipeline.precision), asdict(self.settings)]
        decided_by = json.dumps([*made, prompt, seed], sort_keys=True)
        path = self.folder / f"{hashlib.sha256(decided_by.encode()).hexdigest()[:16]}.mp4"
        if not path.exists():  # Video.save lets no half file appear
            started = time.monotonic()
            self.pipeline(prompt, seed=seed, settings=self.settings).save(path)
            self.seconds.append(time.monotonic() - started)
        return path


def _about_skies(samples: list[Sample], report: Report) -> bool:
    """Whether at least half of the prompts state an hour or a cover, as prompts for skies do."""
    if 2 * sum(bool(s.stated.hour or s.stated.cover) for s in samples) >= len(samples):
        return True
    report.note("most captions state neither hour nor clouds: the prompts for skies are left out")
    return False


def _scores(samples: list[Sample], others: list[Sample], training: TrainingFeatures | None) -> list[Score]:
    generated, real = [s.look for s in samples], [s.real for s in samples if s.real]
    return [
        *agreement_scores("agreement", "prompted", [s.stated for s in samples], generated, real),
        *agreement_scores("synonyms", "in synonyms", [s.stated for s in others], [s.look for s in others], []),
        *frechet_scores(generated, real, training),
        *memory_scores(generated, real, training),
        *measure_scores(generated, real),
    ]


def _costs(folder: Path, seconds: list[float]) -> list[Score]:
    files = (path for part in IDENTITY for path in (folder / part).rglob("*.safetensors"))
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    each = median(seconds) if seconds else None
    return [
        Score(key="seconds", name="seconds a clip", generated=each, what=f"median of {len(seconds)} made now, to MP4"),
        Score(key="megabytes", name="megabytes of weights", generated=megabytes, what="all parts"),
    ]
