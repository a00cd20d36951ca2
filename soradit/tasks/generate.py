"""``soradit generate``: jobs -> videos on disk: which are to be made, which are saved, which failed."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from soradit.errors import SoraditError, UsageError
from soradit.files import check_output_path, is_written, make_folder, sha256_of
from soradit.model.config import GenerationConfig
from soradit.report import Report
from soradit.tasks.jobs import Job, placed
from soradit.tasks.making import Maker, MakingConfig

if TYPE_CHECKING:
    import numpy as np

    from soradit.video import Video


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(MakingConfig):
    """How to make videos, and what becomes of them."""

    overwrite: bool = False
    skip_existing: bool = False
    keep_going: bool = True
    """After a video that can't be made."""
    metadata: bool = True
    sheet: Path | None = None
    """A contact sheet of all videos made."""
    new_folder: Path | None = None
    """Made with the first video that goes there, if it isn't there."""

    def __post_init__(self) -> None:
        if (sheet := self.sheet_to_write) is not None:
            check_output_path(sheet, overwrite=self.overwrite, suffixes=(".png",), new_folder=self.new_folder)

    @property
    def sheet_to_write(self) -> Path | None:
        """The contact sheet, unless it is there already and to be skipped."""
        return self.sheet if self.sheet and not (self.skip_existing and self.sheet.exists()) else None


@dataclass(frozen=True, kw_only=True)
class Made:
    """One video made, or found made already."""

    job: Job
    settings: GenerationConfig | None = None
    seconds: float = 0.0
    """To denoise and decode it, or its share where several were denoised together, and to write it. Loading weights,
    and what is done with other videos meanwhile, don't count."""
    skipped: bool = False

    def to_json(self) -> str:
        job = self.job
        what = {"path": str(job.output), "prompt": job.prompt, "negative": job.negative, "seed": job.seed}
        settings = asdict(self.settings) if self.settings else {}
        seconds = {} if self.skipped else {"seconds": round(self.seconds, 3)}
        found = {"sha256": hash_output(job.output), "skipped": self.skipped}
        return json.dumps({**what, **settings, **seconds, **found}, ensure_ascii=False)


def hash_output(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files one after another in the order of their names."""
    return sha256_of(*(sorted(path.iterdir()) if path.is_dir() else [path]))


def generate(
    jobs: Iterable[Job | SoraditError], config: GenerateConfig, report: Report | None = None
) -> Iterator[Made]:
    """Make the videos, loading the weights once, and yield each as it is on disk.

    Jobs are taken as they are needed. One that can't be made is noted, and the others go on: SoraditError at the end
    if there were such. Raises it at once without ``keep_going``, and for weights or a device that can't be used.
    """
    work = _Work(config, report or Report())
    for is_there, alike in groupby(work.writable(jobs), key=work.is_there):
        yield from (Made(job=job, skipped=True) for job in alike) if is_there else work.make(alike)  # noqa: B031
    work.end()


class _Work:
    """What there is to do, and how it went."""

    def __init__(self, config: GenerateConfig, report: Report) -> None:
        self.config, self.report = config, report
        self.maker = Maker(config, report, self._fail)
        self.num_jobs = self.num_failed = self.num_made = 0
        self.strips: "list[tuple[str, np.ndarray]]" = []

    def is_there(self, job: Job) -> bool:
        return self.config.skip_existing and is_written(job.output)

    def writable(self, jobs: Iterable[Job | SoraditError]) -> Iterator[Job]:
        """The jobs, less those that can't be understood or written."""
        for job in jobs:
            self.num_jobs += 1
            try:
                if isinstance(job, SoraditError):
                    raise job
                if (sheet := self.config.sheet) is not None and sheet.resolve() == job.output.resolve():
                    raise UsageError(f"{sheet}: is the video's name, too; give the sheet another with --sheet")
                GenerationConfig().with_overrides(**job.overrides)
                if not self.is_there(job):
                    check_output_path(job.output, overwrite=self.config.overwrite, new_folder=self.config.new_folder)
            except SoraditError as error:
                self._fail(error, job if isinstance(job, Job) else None)
            else:
                yield job

    def make(self, jobs: Iterable[Job]) -> Iterator[Made]:
        for batch in self.maker.batches(jobs):
            for job, video, seconds in self.maker.videos(batch):
                started = time.monotonic()
                try:
                    with self.report.phase("writing"):
                        self._make_room(job.output)
                        video.save(job.output, overwrite=self.config.overwrite, metadata=self.config.metadata)
                except SoraditError as error:
                    self._fail(error, job)
                    continue
                seconds += time.monotonic() - started
                if self.config.sheet_to_write is not None:
                    self._add_to_sheet(job, video)
                yield Made(job=job, settings=video.settings, seconds=seconds)

    def _make_room(self, path: Path) -> None:
        if path.parent == self.config.new_folder:
            make_folder(path.parent)

    def _add_to_sheet(self, job: Job, video: "Video") -> None:
        from soradit.media.contact_sheet import MAX_ROWS, film_strip

        self.num_made += 1
        if len(self.strips) < MAX_ROWS:
            self.strips.append((f"{job.output.name}: {job.prompt}", film_strip(video.frames)))

    def _fail(self, error: SoraditError, job: Job | None = None) -> None:
        if not self.config.keep_going or (self.config.one_prompt and isinstance(error, UsageError)):
            raise error  # a usage error is that of all videos of one prompt
        self.num_failed += 1
        place = "" if job is None else job.place or ("" if str(job.output) in str(error) else str(job.output))
        self.report.note(str(placed(error, place)))

    def end(self) -> None:
        """Write what belongs to all of them. Raises SoraditError if some failed."""
        if (sheet := self.config.sheet_to_write) is not None and self.strips:
            from soradit.media.contact_sheet import write_contact_sheet

            self._make_room(sheet)
            write_contact_sheet(sheet, self.strips, overwrite=self.config.overwrite)
            left_out = f": the first {len(self.strips)} of {self.num_made}" if self.num_made > len(self.strips) else ""
            self.report.note(f"contact sheet in {sheet}{left_out}")
        if self.num_failed:
            raise SoraditError(f"{self.num_failed} of {self.num_jobs} videos failed: see above")
