"""Patches: an exact inverse pair that covers every pixel of every frame once."""

import pytest
import torch

from soradit.errors import SoraditError
from soradit.media.patches import patchify, unpatchify

SIZES = [(1, 1, 1), (2, 2, 1), (4, 32, 32), (1, 3, 5), (4, 8, 8)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 1, 3), (3, 2, 2)])
def test_there_and_back_is_exact(size: tuple[int, int, int], grid: tuple[int, int, int]) -> None:
    extent = [unit * count for unit, count in zip(size, grid, strict=True)]
    video = torch.rand(2, *extent, 3)
    patches = patchify(video, size)
    assert patches.shape == (2, *grid, 3 * size[0] * size[1] * size[2])
    assert torch.equal(unpatchify(patches, size), video)
    assert torch.equal(patchify(unpatchify(patches, size), size), patches)


def test_every_value_is_in_one_patch() -> None:
    video = torch.arange(8 * 64 * 32 * 3).view(1, 8, 64, 32, 3)
    assert torch.equal(patchify(video, (4, 32, 32)).flatten().sort().values, video.flatten())


def test_a_patch_is_a_block_of_the_video() -> None:
    video = torch.rand(1, 4, 6, 8, 3)
    patches = patchify(video, (2, 3, 4))
    assert torch.equal(patches[0, 1, 0, 1], video[0, 2:4, 0:3, 4:8].flatten())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 32, 32), "frames 6 is not a multiple of 4: use 4 or 8"),
        ((4, 31, 32), "height 31 is not a multiple of 32: use 32"),
        ((4, 32, 65), "width 65 is not a multiple of 32: use 64 or 96"),
    ],
)
def test_a_size_that_does_not_fit_is_named(shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(SoraditError) as error:
        patchify(torch.zeros(1, *shape, 3), (4, 32, 32))
    assert str(error.value) == message
