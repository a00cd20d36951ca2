"""How much memory the transformer's training takes as it is asked for, and how to make it take less."""

from dataclasses import replace

from soradit.device import choose_device, choose_precision
from soradit.model.cost import num_bytes
from soradit.model.dit import DiT
from soradit.model.lora import add_lora
from soradit.training.config import LoopConfig, TrainConfig
from soradit.training.estimate import ExampleShape, peak_bytes
from soradit.training.objective import Objective
from soradit.training.snapshots import LENGTHS
from soradit.training.state import trained_parameters
from soradit.training.transformer import TransformerObjective


def as_trained(model: DiT, config: TrainConfig) -> DiT:
    """The model as ``config`` wants it trained."""
    if config.lora is not None:
        model = add_lora(model, config.lora)
    model.checkpoint_activations = config.checkpoint_activations
    return model


def transformer_bytes(model: DiT, config: TrainConfig, loop: LoopConfig, shape: ExampleShape) -> int:
    """The most memory that training takes, beside what the process takes anyway; ``model`` is ``as_trained``."""
    part = loop.batch_size // loop.accumulate
    tracked = len(LENGTHS) if loop.snapshots else 0
    precision = choose_precision(config.precision, choose_device(config.device))
    return peak_bytes(model, shape, part, precision) + tracked * num_bytes(trained_parameters(model).values())


def memory_advice(config: TrainConfig, loop: LoopConfig, objective: Objective) -> str:
    """Which option to turn when memory has run out, and what it brings."""
    if not isinstance(objective, TransformerObjective):
        return "use a smaller --batch-size"

    model = as_trained(DiT(objective.model.config), config)

    def gigabytes(loop: LoopConfig) -> str:
        return f"{transformer_bytes(model, config, loop, objective.shape) / 1e9:.2g} GB"

    as_it_is, words = gigabytes(loop), []
    more = (parts for parts in range(loop.accumulate + 1, loop.batch_size + 1) if loop.batch_size % parts == 0)
    if parts := next(more, None):
        words.append(f"--accumulate {parts} ({gigabytes(replace(loop, accumulate=parts))})")
    if not config.checkpoint_activations:
        model.checkpoint_activations = True
        words.append(f"--checkpoint-activations ({gigabytes(loop)})")
    words.append("a smaller --size or --frames")
    return f"tensors take about {as_it_is}; use {' or '.join(words)}"
