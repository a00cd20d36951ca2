"""``soradit generate``: prompts -> MP4s."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import soradit
from soradit.errors import SoraditError
from soradit.files import check_output_path
from soradit.model.folder import find_weights, fingerprint
from soradit.model.weights import GenerationConfig, latent_grid
from soradit.pipeline import Pipeline
from soradit.report import Report


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video to make."""

    prompt: str
    negative: str
    seed: int
    output: Path


@dataclass(frozen=True, kw_only=True)
class Made:
    """One video made, or found made already."""

    job: Job
    settings: GenerationConfig
    seconds: float
    skipped: bool = False

    def to_json(self) -> str:
        job = self.job
        return json.dumps(
            {
                "path": str(job.output),
                "prompt": job.prompt,
                "negative": job.negative,
                "seed": job.seed,
                **asdict(self.settings),
                "seconds": round(self.seconds, 3),
                "skipped": self.skipped,
            },
            ensure_ascii=False,
        )


def plan(prompts: list[str], *, output: Path | None, negative: str, seed: int, count: int) -> list[Job]:
    """What to make and where: one video a prompt and seed, with names that tell them apart.

    ``output`` is a file for a single video, a folder, or a file whose name is extended by numbers; None names each
    by its prompt and seed, in the current folder. Raises SoraditError for no prompts, one that is not UTF-8, or a
    count below 1.
    """
    if not prompts:
        raise SoraditError("no prompts: give one, or a file of them with --prompts")
    for text in (*prompts, negative):
        if any("\ud800" <= character <= "\udfff" for character in text):  # how Python keeps bytes that are not UTF-8
            raise SoraditError(f"the prompt {text[:80]!r} is not UTF-8")
    if count < 1:
        raise SoraditError(f"count must be 1 or more, not {count}")
    pairs = [(prompt, seed + i) for prompt in prompts for i in range(count)]
    names = _names(pairs, output)
    return [
        Job(prompt=prompt, negative=negative, seed=job_seed, output=name)
        for (prompt, job_seed), name in zip(pairs, names, strict=True)
    ]


def generate(
    jobs: list[Job],
    *,
    weights: str | None,
    overrides: Mapping[str, object],
    device: str = "auto",
    precision: str = "auto",
    overwrite: bool = False,
    skip_existing: bool = False,
    report: Report | None = None,
) -> Iterator[Made]:
    """Make the videos one after another, loading the weights once; yields each as it is on disk.

    Raises SoraditError, before any work, for outputs that can't be written and settings that don't fit.
    """
    report = report or Report()
    for job in jobs:
        if not (skip_existing and os.path.exists(job.output)):
            check_output_path(job.output, overwrite=overwrite)
    folder = find_weights(weights)
    pipeline = Pipeline.load(folder, device=device, precision=precision)
    settings = pipeline.with_overrides(**overrides)
    latent_grid(settings, pipeline.autoencoder.config.token_size)
    identity = fingerprint(folder, "transformer", "vae", "text_encoder", "tokenizer")
    for job in jobs:
        if skip_existing and os.path.exists(job.output):
            yield Made(job=job, settings=settings, seconds=0.0, skipped=True)
            continue
        yield _make(job, pipeline, settings, identity, overwrite, report)


def _make(
    job: Job, pipeline: Pipeline, settings: GenerationConfig, identity: str, overwrite: bool, report: Report
) -> Made:
    started = time.monotonic()
    num_tokens, max_tokens = pipeline.text_encoder.count_tokens(job.prompt), pipeline.text_encoder.max_tokens
    if num_tokens > max_tokens:
        report.note(f"the prompt has {num_tokens} tokens: all after the first {max_tokens} are not used")
    with report.progress(f"generating {job.output.name}", settings.steps) as progress:
        video = pipeline(
            job.prompt,
            seed=job.seed,
            negative=job.negative,
            settings=settings,
            on_step=lambda step: progress.update(step.done),
        )
    about = {
        "soradit": soradit.__version__,
        "weights": identity,
        "prompt": job.prompt,
        "negative": job.negative,
        "seed": job.seed,
        **asdict(settings),
    }
    metadata = {"title": job.prompt, "comment": json.dumps(about, ensure_ascii=False)}
    video.save(job.output, overwrite=overwrite)
    return Made(job=job, settings=settings, seconds=time.monotonic() - started)


def _names(pairs: list[tuple[str, int]], output: Path | None) -> list[Path]:
    if output is not None and output.suffix and not os.path.isdir(output):
        if len(pairs) == 1:
            return [output]
        return [output.with_name(f"{output.stem}-{i:03d}{output.suffix}") for i in range(len(pairs))]
    folder = output or Path()
    names = [f"{_slug(prompt)}-{seed}" for prompt, seed in pairs]
    if len(set(names)) < len(names):
        names = [f"{i:03d}-{name}" for i, name in enumerate(names)]
    return [folder / f"{name}.mp4" for name in names]


def _slug(prompt: str) -> str:
    """A file name from a prompt: lower case, at most 60 characters, safe on every file system."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:60].strip("-") or "video"
