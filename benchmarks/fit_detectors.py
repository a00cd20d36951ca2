"""Fits the detectors of hour and cover to captioned skies: ``python benchmarks/fit_detectors.py CLIPS [OTHERS]``.

Writes soradit/evaluation/detectors.json, and prints how often the detectors are right on CLIPS and on OTHERS, which
they were not fitted to. Changing the coefficients changes what `soradit evaluate` measures: raise its version then.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import torch

from soradit.evaluation import detectors
from soradit.evaluation.facts import Facts, facts_of
from soradit.files import write_whole
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video

NUM_FRAMES, FPS, SIZE = 32, 16, (256, 256)
CLASSES = {"hour": ("night", "twilight", "low sun", "day"), "cover": ("clear", "partly cloudy", "overcast")}
SHAPE = ("log unevenness along rows", "log change of warmth in half a second")
"""Numbers that tell clouds; the hour is told by colour and brightness alone."""
WEIGHT_DECAY = {"hour": 3e-3, "cover": 1e-3}


def read(clip: Clip):
    return read_video(clip.path, fps=FPS, size=SIZE, num_frames=NUM_FRAMES)[0]


def stated(clip: Clip) -> Facts:
    """All that any of the clip's captions says."""
    facts = [facts_of(caption) for caption in clip.captions]
    return Facts(
        **{name: next((v for f in facts if (v := getattr(f, name))), None) for name in ("hour", "cover", "drift")}
    )


def fit(
    numbers: list[dict[str, float]], labels: list[int], names: tuple[str, ...], weight_decay: float
) -> dict[str, dict[str, float]]:
    """Multinomial logistic regression on standardised numbers, told in the numbers' own units."""
    x, y = torch.tensor([list(n.values()) for n in numbers], dtype=torch.float64), torch.tensor(labels)
    mean, std = x.mean(0), x.std(0)
    weight = torch.zeros(x.shape[1], len(names), dtype=torch.float64, requires_grad=True)
    constant = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, constant], max_iter=500, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy((x - mean) / std @ weight + constant, y)
        value = value + weight_decay * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    weight, constant = weight.detach() / std[:, None], constant.detach() - mean / std @ weight.detach()
    return {
        name: {"constant": round(float(constant[i]), 4)}
        | {key: round(float(weight[j, i]), 4) for j, key in enumerate(numbers[0])}
        for i, name in enumerate(names)
    }


def accuracy(clips: list[Clip]) -> str:
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for clip in clips:
        seen, said = detectors.detect(read(clip), FPS), stated(clip)
        for name in ("hour", "cover", "drift"):
            if getattr(said, name):
                total[name] += 1
                right[name] += getattr(seen, name) == getattr(said, name)
    return ", ".join(f"{name} {right[name]}/{total[name]} = {right[name] / total[name]:.1%}" for name in total)


def main() -> None:
    torch.set_num_threads(1)
    folders = [find_clips(Path(folder)) for folder in sys.argv[1:]]
    numbers = [detectors.appearance(read(clip), FPS) for clip in folders[0]]
    coefficients = {}
    for what, names in CLASSES.items():
        labels = [getattr(stated(clip), what) for clip in folders[0]]
        used = [{key: n[key] for key in n if what == "cover" or key not in SHAPE} for n in numbers]
        known = [i for i, label in enumerate(labels) if label]
        coefficients[what] = fit(
            [used[i] for i in known], [names.index(labels[i]) for i in known], names, WEIGHT_DECAY[what]
        )
    target = Path(detectors.__file__).with_name(detectors.COEFFICIENTS)
    write_whole(target, json.dumps(coefficients, indent=1) + "\n")
    for clips in folders:
        print(f"{clips[0].path.parent}: {accuracy(clips)}", flush=True)


if __name__ == "__main__":
    main()
