"""A run's folder: what it starts with, and whether it may go on.

RUN/model_index.json, transformer/, vae/, text_encoder/, tokenizer/, scheduler/    generate --weights RUN
RUN/lora/                                                                          generate --lora RUN/lora
RUN/best/                                                                          the same, of lowest held-out loss
RUN/config.json                                                                    what was asked for
RUN/metrics.csv  RUN/tensorboard/  RUN/report.html  RUN/log.txt                    how it went
RUN/samples/step-00000500/                                                         the same prompts, now and then
RUN/snapshots/                                                                     soradit average RUN
RUN/teacher/                                                                       what paraphrases are learnt from
RUN/checkpoints/                                                                   what resume needs
RUN/last                                                                           names the newest of them
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from soradit.errors import SoraditError, StateSaved
from soradit.locks import try_lock
from soradit.model.folder import IDENTITY, INDEX, TEXT_PARTS, has_component
from soradit.model.weights import copy_component, save_generation_config, save_text, write_index
from soradit.report import Report
from soradit.training.base import find_base
from soradit.training.best import drop_later_best
from soradit.training.checkpoint import LAST, list_checkpoints, read_state, set_aside_later
from soradit.training.config import NEEDED, LoopConfig, TrainConfig, option_of
from soradit.training.samples import FOLDER as SAMPLES
from soradit.training.snapshots import FOLDER as SNAPSHOTS
from soradit.training.steps import drop_later

RUN_CONFIG = "config.json"
LOCK = ".lock"
TEACHER = "teacher"
"""With paraphrases, the text encoder as it was before: a folder like a run's."""
MAY_CHANGE = {
    *("data", "run", "cache", "resume", "device", "precision", "prompts", "compile", "checkpoint_activations", "shard"),
    *("steps", "accumulate", "evaluate_every", "sample_every", "checkpoint_every", "keep_checkpoints", "max_hours"),
}
"""What a resumed run may set otherwise than it began with."""
LEFT_TO_WEIGHTS = ("process", "height", "width", "num_frames", "fps")
"""Settings that are the weights' own where the command gives none."""


def prepare_run(config: TrainConfig) -> None:
    """Fill the run's folder with the weights to start from, less what is trained anew or no longer fits.

    A transformer that stays as it is goes on generating as it did, whatever size and length its decoder is trained on.
    """
    base, own, asked, is_fresh = find_base(config)
    outdated = {
        "transformer": {"transformer"} if is_fresh else set(),
        "vae": {"transformer", "vae"} if is_fresh else {"transformer"},
        "decoder": set(),
        "refiner": set(),
        "text_encoder": {"transformer", *TEXT_PARTS} if is_fresh else {"transformer"},
    }
    if config.paraphrases is not None:
        outdated["text_encoder"] = set()
    if config.lora is not None and is_fresh:
        raise SoraditError("LoRA needs a transformer to start from: leave out --lora, or what makes it start anew")
    is_in_place = base is not None and base.resolve() == config.run.resolve()
    for component in outdated[config.component] if is_in_place else (*IDENTITY, TEACHER):  # left by an earlier try
        shutil.rmtree(config.run / component, ignore_errors=True)
    if base is not None:
        for component in set(IDENTITY) - outdated[config.component]:
            copy_component(base, config.run, component)
    if config.text_encoder is not None:
        from soradit.model.text import load_text_encoder

        save_text(config.run, load_text_encoder(config.text_encoder, config.text_encoder))
    if config.paraphrases is not None:
        for component in TEXT_PARTS:
            copy_component(config.run, config.run / TEACHER, component)
    for component in NEEDED[config.component]:
        if not has_component(config.run, component):
            raise SoraditError(f"the weights {base} have no {component}: name others with --weights")
    keeps_transformer = config.component != "transformer" and has_component(config.run, "transformer")
    save_generation_config(config.run, own if keeps_transformer else asked)
    write_index(config.run)


def beginning(config: TrainConfig) -> dict[str, Any]:
    """What a run that begins now makes of the weights to start from: saved beside what was asked for.

    ``fresh`` is whether its component starts anew; the rest are settings, the weights' own where none were given.
    """
    base = find_base(config)
    return {"fresh": base.is_fresh, **{name: getattr(base.asked, name) for name in LEFT_TO_WEIGHTS}}


def describe_run(config: TrainConfig, loop: LoopConfig) -> dict[str, dict[str, Any]]:
    """What was asked for, as JSON has it: saved beside the run and in each checkpoint."""
    train = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    return _as_json({"train": train, "loop": asdict(loop)})


def _as_json(value: Any) -> Any:
    return None if value is MISSING else json.loads(json.dumps(value))


def checkpoint_to_resume(config: TrainConfig, described: dict[str, dict[str, Any]], report: Report) -> Path | None:
    """The checkpoint that ``config.resume`` asks for. Raises SoraditError where going on would mix two trainings.

    Settings that differ from the run's so far, and may, are named in the report.
    """
    if config.resume not in ("auto", "never"):
        checkpoint = Path(config.resume)
    elif found := list_checkpoints(config.run):
        checkpoint = found[-1]
    elif (config.run / LAST).is_symlink():
        raise SoraditError(f"{config.run} was trained, and its checkpoints are gone: choose another folder with -o")
    else:
        return None
    if config.resume == "never":
        raise SoraditError(f"{config.run} holds a run already: choose another folder with -o, or --resume auto")
    state = read_state(checkpoint)
    differences = list(_differences(config, state, described))
    refused = [
        f"{_setting(name, before)}, not {_value(now, before)}"
        for name, before, now in differences
        if name not in MAY_CHANGE
    ]
    if refused:
        began = " and ".join(refused)
        raise SoraditError(f"{config.run} began {began}: repeat its settings, or choose another folder with -o")
    if state["step"] > (steps := described["loop"]["steps"]):
        raise SoraditError(f"{checkpoint} is of a training that has gone beyond step {steps}: give more --steps")
    for name, before, now in differences:
        if name not in ("resume", "run"):
            report.note(f"going on {_setting(name, now)}; until now {_setting(name, before)}")
    return checkpoint


def _differences(
    config: TrainConfig, state: dict, described: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Any, Any]]:
    """Name, value before and now of each setting; those that a checkpoint doesn't name had their default.

    Two ways to ask for the same, as by leaving it to the weights and by naming what theirs is, are no difference.
    """
    began = state.get("began", {})
    for section, config_class in (("train", TrainConfig), ("loop", LoopConfig)):
        defaults = {field.name: field.default for field in fields(config_class)}
        for name, now in described[section].items():
            before = state.get(section, {}).get(name, _as_json(defaults[name]))
            if before != now and name in began:
                before, now = began[name], beginning(config)[name]
            if before != now:
                yield name, before, now


def _setting(name: str, value: Any) -> str:
    """As the command line has it: ``with --lr 0.001``."""
    option = option_of(name)
    if value is None or value is False:
        return f"without {option}"
    return f"with {option}" if value is True else f"with {option} {value}"


def _value(value: Any, other: Any) -> str:
    """What is to be there instead of ``other``, which has been named with its option."""
    if value is None or isinstance(value, bool):
        return "with" if value else "without"
    return f"with {value}" if other is None else f"{value}"


def turn_back_to(run: Path, checkpoint: Path, report: Report) -> None:
    """What the run did after ``checkpoint`` is over: later checkpoints are set aside, the rest removed."""
    if moved := set_aside_later(run, checkpoint):
        report.note(f"turning back: {', '.join(c.name for c in moved)} set aside in {moved[0].parent}")
    forget_after(run, read_state(checkpoint)["step"])


def forget_after(run: Path, step: int) -> None:
    """Remove samples, snapshots and best weights of later steps, which a try left that is not gone on with."""
    for folder in (SAMPLES, SNAPSHOTS):
        drop_later(run / folder, step)
    drop_later_best(run, step)


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """The run's folder, made if need be, for this process alone.

    Raises SoraditError where it can't be made, holds something else, or another process trains into it.
    """
    if (run / INDEX).is_file() and not any((run / ours).is_file() for ours in (RUN_CONFIG, LOCK)):
        raise SoraditError(f"{run} holds weights that are no run: choose another folder with -o")
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = open(run / LOCK, "ab")  # noqa: SIM115 (to close it is to give it up)
    except OSError as error:
        raise SoraditError(f"can't make the run's folder {run} ({error.strerror}): choose another with -o") from error
    with lock:
        try:
            is_free = try_lock(lock, 0)
        except OSError:  # a file system without locks
            is_free = True
        if not is_free:
            raise SoraditError(f"another process trains into {run}: wait for its end, or choose another folder with -o")
        yield


@contextmanager
def undone_if_refused(run: Path) -> Iterator[None]:
    """Leave no new run behind when a SoraditError says that it can't even begin."""
    is_new = {entry.name for entry in run.iterdir()} <= {LOCK}
    try:
        yield
    except SoraditError as error:
        if is_new and not isinstance(error, StateSaved):
            shutil.rmtree(run, ignore_errors=True)
        raise
