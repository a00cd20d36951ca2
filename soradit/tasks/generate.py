"""``soradit generate``: jobs -> videos on disk, the weights loaded once. Nothing is imported before it is needed."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from soradit.errors import SoraditError
from soradit.files import check_output_path, sha256_of
from soradit.imports import quick_imports
from soradit.model.config import GenerationConfig, latent_grid, load_autoencoder_config, load_generation_config
from soradit.model.folder import find_weights, identity, lora_fingerprint, parse_lora, verify
from soradit.report import Report
from soradit.tasks.jobs import Job

if TYPE_CHECKING:
    import numpy as np

    from soradit.diffusion.sampler import Step
    from soradit.pipeline import Pipeline
    from soradit.video import Request, Video

FEW_STEPS = 0.5
"""Below this share of the weights' own steps, a word of warning."""


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """How to make videos, whichever they are."""

    weights: str | None = None
    """A folder; None is the bundled one."""
    lora: tuple[str, ...] = ()
    """Each ``DIR`` or ``DIR:STRENGTH``, merged into the weights' transformer."""
    expected_weights: str | None = None
    """Refuse weights that are not those of this hash."""
    expected_start: str | None = None
    """Refuse another beginning (image, or video to go on from) than that of this hash."""
    device: str = "auto"
    precision: str = "auto"
    offload: bool = False
    batch_size: int | None = None
    overwrite: bool = False
    skip_existing: bool = False
    keep_going: bool = True
    """After a video that can't be made."""
    one_prompt: bool = False
    """All videos are of the first one's prompt: another process may embed it meanwhile."""
    metadata: bool = True
    sheet: Path | None = None
    """A contact sheet of all videos made."""

    def __post_init__(self) -> None:
        if self.sheet is not None and not (self.skip_existing and self.sheet.exists()):
            check_output_path(self.sheet, overwrite=self.overwrite, suffixes=(".png",))


@dataclass(frozen=True, kw_only=True)
class Made:
    """One video made, or found made already."""

    job: Job
    settings: GenerationConfig | None = None
    seconds: float = 0.0
    skipped: bool = False

    @classmethod
    def already(cls, job: Job) -> "Made":
        return cls(job=job, skipped=True)

    def to_json(self) -> str:
        job = self.job
        what = {"path": str(job.output), "prompt": job.prompt, "negative": job.negative, "seed": job.seed}
        settings = asdict(self.settings) if self.settings else {}
        made = {} if self.skipped else {"seconds": round(self.seconds, 3), "sha256": hash_output(job.output)}
        return json.dumps({**what, **settings, **made, "skipped": self.skipped}, ensure_ascii=False)


def hash_output(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files one after another in the order of their names."""
    return sha256_of(*(sorted(path.iterdir()) if path.is_dir() else [path]))


def generate(
    jobs: Iterable[Job | SoraditError], config: GenerateConfig, report: Report | None = None
) -> Iterator[Made]:
    """Make the videos, loading the weights once, and yield each as it is on disk.

    Jobs are taken as they are needed. One that can't be made is noted, and the others go on. Raises SoraditError at
    the end if there were such, and at once for weights or a device that can't be used.
    """
    work = _Work(config, report or Report())
    for is_there, alike in groupby(work.writable(jobs), key=work.is_there):
        yield from map(Made.already, alike) if is_there else work.make(alike)  # noqa: B031 - one of the two
    work.end()


class _Work:
    """What the jobs share: the pipeline, once it is needed, and how many of them failed."""

    def __init__(self, config: GenerateConfig, report: Report) -> None:
        self.config, self.report = config, report
        self.num_jobs = self.num_failed = 0
        self.advised: list[str] = []
        self.strips: "list[tuple[str, np.ndarray]]" = []

    @cached_property
    def folder(self) -> Path:
        return find_weights(self.config.weights)

    @cached_property
    def pipeline(self) -> "Pipeline":
        """The weights' files are read, and their hashes compared, while torch is being imported."""
        config, folder = self.config, self.folder
        self.report.note(f"loading {'the bundled weights' if config.weights is None else folder}")
        with ThreadPoolExecutor(1) as reader, self.report.progress("loading", 2) as progress:
            verified = reader.submit(verify, folder)
            progress.update(0, "importing torch")
            with self.report.phase("importing"), quick_imports():
                from soradit.pipeline import Pipeline
            progress.update(1, "reading weights")
            with self.report.phase("reading weights"):
                pipeline = Pipeline.load(
                    folder,
                    device=config.device,
                    precision=config.precision,
                    offload=config.offload,
                    hashes=verified.result(),
                    report=self.report,
                )
        if config.lora:
            from soradit.model.lora import load_lora, trained_elsewhere

            pipeline.transformer = load_lora(pipeline.transformer, list(config.lora))
            for text in trained_elsewhere(list(config.lora), identity(verified.result(), "transformer")):
                self.report.note(text)
            pipeline.familiar = None  # what LoRA learnt from, nothing says
            named = (parse_lora(spec) for spec in config.lora)
            pipeline.identity += "".join(f"+{lora_fingerprint(lora)}:{strength:g}" for lora, strength in named)
        if config.expected_weights not in (None, pipeline.identity):
            raise SoraditError(
                f"it was made with weights {config.expected_weights}, and {folder} are {pipeline.identity}: "
                "name the right ones with --weights and --lora, or give --force"
            )
        return pipeline

    def _pipeline_for(self, job: Job) -> "Pipeline":
        """The pipeline, and where the job's prompt is the only one, its embedding, made meanwhile."""
        if not self.config.one_prompt:
            return self.pipeline
        from soradit.model.meanwhile import embedded_meanwhile

        with embedded_meanwhile(self.folder, ["", job.prompt, job.negative]) as wait:
            pipeline = self.pipeline
            with self.report.phase("waiting for embeddings"), self._live("embedding the prompt"):
                wait()
        return pipeline

    @contextmanager
    def _live(self, what: str) -> Iterator[None]:
        """Say on a terminal what it waits for."""
        with self.report.progress(what, 1) as progress:
            progress.update(0)
            yield

    def is_there(self, job: Job) -> bool:
        return self.config.skip_existing and job.output.exists()

    def writable(self, jobs: Iterable[Job | SoraditError]) -> Iterator[Job]:
        """The jobs, less those that can't be understood or written."""
        for job in jobs:
            self.num_jobs += 1
            try:
                if isinstance(job, SoraditError):
                    raise job
                if not self.is_there(job):
                    check_output_path(job.output, overwrite=self.config.overwrite)
            except SoraditError as error:
                self._fail(error)
            else:
                yield job

    def make(self, jobs: Iterable[Job]) -> Iterator[Made]:
        config, fitting = self.config, self._fitting(jobs)
        if (first := next(fitting, None)) is None:
            return
        for spec in config.lora:
            parse_lora(spec)
        pipeline, requests = self._pipeline_for(first), self._requests(chain([first], fitting))
        for batch in pipeline.batches(requests, of=lambda pair: pair[1], batch_size=config.batch_size):
            started = time.monotonic()
            for job, video in self._videos(batch):
                try:
                    with self.report.phase("writing"):
                        video.save(job.output, overwrite=config.overwrite, metadata=config.metadata)
                except SoraditError as error:
                    self._fail(error, job)
                    continue
                if config.sheet is not None:
                    self._add_to_sheet(job, video)
                yield Made(job=job, settings=video.settings, seconds=(time.monotonic() - started) / len(batch))

    def _fitting(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs, less those that don't fit the weights going by their configs; before anything large is imported."""
        own, token_size = load_generation_config(self.folder), load_autoencoder_config(self.folder).token_size
        for job in jobs:
            try:
                settings = own.with_overrides(**job.overrides)
                for start in filter(None, (job.image, job.continued)):
                    if not start.is_file():
                        raise SoraditError(f"{start}: {'is not a file' if start.exists() else 'no such file'}")
                if job.continued is None:  # else length and size are the video's
                    latent_grid(settings, token_size, window=max(1, own.num_frames // token_size[0]))
            except SoraditError as error:
                self._fail(error, job)
            else:
                yield job

    def _requests(self, jobs: Iterable[Job]) -> "Iterator[tuple[Job, Request]]":
        """The jobs with what they begin with, less those whose settings don't fit; before any work on them."""
        for job in jobs:
            try:
                request = request_of(job, self.pipeline, expected_start=self.config.expected_start)
            except SoraditError as error:
                self._fail(error, job)
            else:
                with self.report.phase("embedding prompts"), self._live("embedding the prompt"):
                    advice = list(advice_on(request, self.pipeline))
                for text in advice:
                    if text not in self.advised:  # once for all of --count
                        self.report.note(text)
                self.advised = advice
                yield job, request

    def _videos(self, batch: "list[tuple[Job, Request]]") -> "Iterator[tuple[Job, Video]]":
        """One pass through the transformer; where that fails, each alone, so that one fails alone."""
        jobs, requests = [job for job, _ in batch], [request for _, request in batch]
        what = jobs[0].output.name if len(jobs) == 1 else f"{len(jobs)} videos"
        steps = requests[0].settings.steps if requests[0].settings else 0
        with self.report.progress(f"generating {what}", steps) as progress:

            def on_step(step: "Step") -> None:
                progress.update(step.done)
                if progress.shows:
                    progress.show(self.pipeline.decode(step.x0[0, :1])[0])

            try:
                videos = self.pipeline.together(requests, on_step=on_step)
            except SoraditError as error:
                if len(batch) == 1:
                    self._fail(error, jobs[0])
                    return
                videos = None
        if videos is not None:
            yield from zip(jobs, videos, strict=True)
        else:
            for pair in batch:
                yield from self._videos([pair])

    def _add_to_sheet(self, job: Job, video: "Video") -> None:
        from soradit.media.contact_sheet import MAX_ROWS, film_strip

        if len(self.strips) < MAX_ROWS:
            self.strips.append((job.output.name, film_strip(video.frames)))

    def _fail(self, error: SoraditError, job: Job | None = None) -> None:
        if not self.config.keep_going:
            raise error
        self.num_failed += 1
        text = str(error)
        self.report.note(text if job is None or str(job.output) in text else f"{job.output}: {text}")

    def end(self) -> None:
        """Write what belongs to all of them. Raises SoraditError if some failed."""
        config = self.config
        if config.sheet is not None and self.strips and not (config.skip_existing and config.sheet.exists()):
            from soradit.media.contact_sheet import write_contact_sheet

            write_contact_sheet(config.sheet, self.strips, overwrite=config.overwrite)
        if self.num_failed:
            raise SoraditError(f"{self.num_failed} of {self.num_jobs} videos failed: see above")


def request_of(job: Job, pipeline: "Pipeline", *, expected_start: str | None = None) -> "Request":
    """A job as the pipeline takes it. Raises SoraditError for settings that don't fit the weights or one another."""
    from soradit.media.video import read_image
    from soradit.video import Request, start_hash

    overrides, start = dict(job.overrides), None
    if job.image is not None:
        settings = pipeline.with_overrides(**overrides)
        start = read_image(job.image, size=(settings.height, settings.width))[None]
    elif job.continued is not None:
        overrides, start = _read_beginning(job.continued, overrides, pipeline)
    request = Request(
        prompt=job.prompt,
        negative=job.negative,
        seed=job.seed,
        settings=pipeline.with_overrides(**overrides),
        start=start,
    )
    pipeline.grid(request)
    if expected_start is not None and (start is None or start_hash(start) != expected_start):
        raise SoraditError(
            "it began with another image or video: name that with --image or --continue, or give --force"
        )
    return request


def _read_beginning(path: Path, overrides: dict[str, Any], pipeline: "Pipeline") -> "tuple[dict[str, Any], np.ndarray]":
    """A video to go on from, in the size, rate and length that follow from it where the job sets no others."""
    from soradit.media.video import probe_video, read_video

    info = probe_video(path)
    _, unit_height, unit_width = pipeline.autoencoder.config.token_size
    for name, value in (
        ("height", info.height // unit_height * unit_height or unit_height),
        ("width", info.width // unit_width * unit_width or unit_width),
        ("fps", max(1, round(info.fps))),
    ):
        if overrides.get(name) is None:
            overrides[name] = value
    settings = pipeline.with_overrides(**overrides)
    start, _ = read_video(path, fps=settings.fps, size=(settings.height, settings.width))
    if len(start) < pipeline.autoencoder.config.token_size[0]:
        raise SoraditError(f"{path} has {len(start)} frames: too few to go on from; give one of them as --image")
    if overrides.get("num_frames") is None:
        overrides["num_frames"] = len(start) + pipeline.frames_after(start)
    return overrides, start


def advice_on(request: "Request", pipeline: "Pipeline") -> Iterator[str]:
    """What a person would want to know before the wait."""
    if not request.prompt.strip():
        yield "the prompt is empty: what the video shows is up to the weights"
    max_tokens = pipeline.text_encoder.max_tokens
    for what, text in (("the prompt", request.prompt), ("the negative prompt", request.negative)):
        if text and (num_tokens := pipeline.text_encoder.count_tokens(text)) > max_tokens:
            yield f"{what} has {num_tokens} tokens: all after the first {max_tokens} are not used"
    if pipeline.is_far(request.prompt):
        prompt = shorten(request.prompt, 60, placeholder=" ...")
        yield f"{prompt!r} is far from what these weights learnt: expect what they know instead"
    own, settings = pipeline.defaults, request.settings or pipeline.defaults
    if settings.steps < FEW_STEPS * own.steps:
        yield f"{settings.steps} steps are few: these weights use {own.steps}, and with fewer their pictures blur"
    if request.negative and settings.guidance == 1:
        yield "the negative prompt is not used: without guidance (1) there is nothing to guide away from"
