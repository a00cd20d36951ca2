"""Jobs -> videos in memory: the weights loaded once, and neighbours denoised together.

Nothing large is imported before there is a job that fits the weights, going by their configs.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from soradit.errors import SoraditError
from soradit.imports import quick_imports
from soradit.model.config import load_autoencoder_config, load_generation_config
from soradit.model.folder import Hashes, Lora, find_weights, identity, lora_beside, verify
from soradit.report import Report
from soradit.tasks.jobs import Job
from soradit.tasks.requests import advice_on, settings_and_start

if TYPE_CHECKING:
    import numpy as np

    from soradit.diffusion.sampler import Step
    from soradit.model.config import GenerationConfig
    from soradit.pipeline import Pipeline
    from soradit.video import Request, Video

ADVICE_REMEMBERED = 100
"""Lines that were told and are not told again; a list of prompts may be endless."""


@dataclass(frozen=True, kw_only=True)
class MakingConfig:
    """How to make videos, whichever they are."""

    weights: str | None = None
    """A folder; None is the bundled one."""
    lora: tuple[Lora, ...] = ()
    """Merged into the weights' transformer."""
    expected_weights: str | None = None
    """Refuse weights that are not those of this hash."""
    expected_precision: str | None = None
    """Tell where another is taken."""
    expected_start: str | None = None
    """Refuse another beginning (image, or video to go on from) than that of this hash."""
    device: str = "auto"
    precision: str = "auto"
    offload: bool = False
    batch_size: int | None = None
    one_prompt: bool = False
    """All videos are of the first one's prompt: another process may embed it meanwhile."""


class Maker:
    """Makes videos with one pipeline, which is loaded when the first is to be made.

    ``fail`` is told of each job that can't be made, and may raise; the others go on.
    """

    def __init__(self, config: MakingConfig, report: Report, fail: Callable[[SoraditError, Job], None]) -> None:
        self.config, self.report, self.fail = config, report, fail
        self.advised: deque[str] = deque(maxlen=ADVICE_REMEMBERED)

    @cached_property
    def folder(self) -> Path:
        return find_weights(self.config.weights)

    @property
    def _name(self) -> str:
        return "the bundled weights" if self.config.weights is None else str(self.folder)

    @cached_property
    def pipeline(self) -> "Pipeline":
        """The weights' files are read, and their hashes compared, while torch is being imported."""
        config, folder = self.config, self.folder
        self.report.note(f"loading {self._name}")
        with ThreadPoolExecutor(1) as reader, self.report.progress("loading", 2) as progress:
            verified = reader.submit(verify, folder)
            if config.expected_weights is not None:
                self._require(config.expected_weights, self._identity(verified.result()))
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
        self._compare_precision(pipeline)
        if (beside := lora_beside(folder)) is not None and not config.lora:
            self.report.note(f"{folder} has learnt {beside}, which its weights don't hold: add --lora {beside}")
        if config.lora:
            from soradit.model.lora import load_lora

            own = identity(verified.result(), "transformer")
            pipeline.transformer = load_lora(pipeline.transformer, config.lora, base=own, note=self.report.note)
            pipeline.familiar = None  # what LoRA learnt from, nothing says
            pipeline.identity = self._identity(verified.result())
        return pipeline

    def _identity(self, hashes: Hashes) -> str:
        """Identity of the weights and what is merged into them."""
        return identity(hashes) + "".join(f"+{lora.fingerprint}:{lora.strength:g}" for lora in self.config.lora)

    def _require(self, expected: str, found: str) -> None:
        if found != expected:
            raise SoraditError(
                f"it was made with weights {expected}, not with {self._name}, which are {found}: "
                "name the right ones with --weights and --lora, or give --force"
            )

    def _compare_precision(self, pipeline: "Pipeline") -> None:
        from soradit.device import name_of

        expected, taken = self.config.expected_precision, name_of(pipeline.precision)
        if expected not in (None, taken):
            self.report.note(f"it was made in {expected}, this is {taken} (--precision): it may differ a little")

    def batches(self, jobs: Iterable[Job]) -> "Iterator[list[tuple[Job, Request]]]":
        """Neighbours that may go through the transformer together, less the jobs that can't be made."""
        fitting = self._fitting(jobs)
        if (first := next(fitting, None)) is None:
            return
        pipeline, requests = self._pipeline_for(first[0]), self._requests(chain([first], fitting))
        yield from pipeline.batches(requests, of=lambda pair: pair[1], batch_size=self.config.batch_size)

    def videos(self, batch: "list[tuple[Job, Request]]") -> "Iterator[tuple[Job, Video, float]]":
        """One pass through the transformer; where that fails, each alone, so that one fails alone.

        With each video its share of the seconds that the pass took.
        """
        jobs, requests = [job for job, _ in batch], [request for _, request in batch]
        what = jobs[0].output.name if len(jobs) == 1 else f"{len(jobs)} videos"
        steps, started = self.pipeline.settings_of(requests[0]).steps, time.monotonic()
        with self.report.progress(f"generating {what}", steps) as progress:

            def on_step(step: "Step") -> None:
                progress.update(step.done)
                if progress.shows:
                    progress.show(self.pipeline.preview(step.x0[0]))

            try:
                videos = self.pipeline.together(requests, on_step=on_step)
            except SoraditError as error:
                if len(batch) == 1:
                    self.fail(error, jobs[0])
                    return
                videos = None
        if videos is not None:
            seconds = (time.monotonic() - started) / len(batch)
            yield from ((job, video, seconds) for job, video in zip(jobs, videos, strict=True))
        else:
            for pair in batch:
                yield from self.videos([pair])

    def _fitting(self, jobs: Iterable[Job]) -> "Iterator[tuple[Job, GenerationConfig, np.ndarray | None]]":
        """The jobs with their settings and what they begin with, less those that don't fit, by the weights' configs."""
        own, token_size = load_generation_config(self.folder), load_autoencoder_config(self.folder).token_size
        for job in jobs:
            start = job.image or job.continued
            try:
                with self._live(f"reading {start}") if start else nullcontext():
                    fitted = settings_and_start(job, own, token_size, expected_start=self.config.expected_start)
            except SoraditError as error:
                self.fail(error, job)
            else:
                yield job, *fitted

    def _requests(
        self, fitting: "Iterable[tuple[Job, GenerationConfig, np.ndarray | None]]"
    ) -> "Iterator[tuple[Job, Request]]":
        """The jobs as the pipeline takes them; what a person would want to know of each is told."""
        from soradit.video import Request

        for job, settings, start in fitting:
            request = Request(prompt=job.prompt, negative=job.negative, seed=job.seed, settings=settings, start=start)
            with self.report.phase("embedding prompts"), self._live("embedding the prompt"):
                advice = list(advice_on(request, self.pipeline))
            for text in advice:
                if text not in self.advised:  # once for all of --count, or of a list
                    self.report.note(text)
                    self.advised.append(text)
            yield job, request

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
