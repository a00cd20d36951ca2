"""Which prompts weights for skies take for skies, and which they call far from what they learnt.

    python benchmarks/everyday_prompts.py --about skies > skies.txt
    python benchmarks/everyday_prompts.py --about others > others.txt
    python benchmarks/familiar.py WEIGHTS --data CLIPS --held-out CLIPS --skies skies.txt --others others.txt

Writes transformer/prompts.safetensors, text_encoder/everyday.safetensors and the list of hashes of WEIGHTS, then prints
what is told of prompts that neither was made of: evaluate's synonyms, which are skies, and benchmarks/no_skies.txt.
"""

import argparse
import os
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from soradit.media.clips import find_clips
from soradit.model.familiar import MAX_LANDMARKS, farthest_points, learn, load_familiar, save_everyday, save_familiar
from soradit.model.weights import load_text, write_index

AT_ONCE = 256
SYNONYMS = files("soradit.evaluation") / "synonyms.txt"
NO_SKIES = Path(__file__).with_name("no_skies.txt")


def lines(path: Traversable) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def captions(folder: Path) -> list[str]:
    return [caption for clip in find_clips(folder) for caption in clip.captions]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    for name in ("--data", "--held-out", "--skies", "--others"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    text_encoder = load_text(arguments.weights)

    def pooled(prompts: list[str]) -> torch.Tensor:
        return torch.cat([text_encoder.pooled(prompts[i : i + AT_ONCE]) for i in range(0, len(prompts), AT_ONCE)])

    asked = {*lines(SYNONYMS), *lines(NO_SKIES)}
    skies = captions(arguments.data) + [line for line in lines(arguments.skies) if line not in asked]
    others = [line for line in lines(arguments.others) if line not in asked]
    save_familiar(arguments.weights, learn(pooled(skies), pooled(captions(arguments.held_out))))
    save_everyday(arguments.weights, farthest_points(pooled(others), MAX_LANDMARKS))
    write_index(arguments.weights)
    familiar = load_familiar(arguments.weights)
    assert familiar is not None
    print(f"radius {familiar.radius:.3f}, {len(familiar.landmarks)} landmarks, {len(familiar.everyday)} others")
    for path in (SYNONYMS, NO_SKIES):
        prompts = lines(path)
        far = [prompt for prompt in prompts if familiar.is_far(pooled([prompt]))]
        print(f"{path.name}: {len(far)} of {len(prompts)} are far: {'; '.join(far)}")


if __name__ == "__main__":
    main()
