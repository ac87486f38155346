"""LPIPS against values of the original implementation, and the weights against those of torchmetrics."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from PIL import Image, ImageFilter
from safetensors.torch import load_file
from torch import Tensor

from skipstone.disk.weights import folder_of
from skipstone.metrics.lpips import FILE, SMALLEST, WEIGHTS, lpips, spatial_lpips
from skipstone.metrics.pair import Pair, pair


def astronaut() -> Image.Image:
    """The upper left quarter of the picture in scikit-image, which is in the public domain."""
    return Image.open(Path(__file__).parent / "pictures/astronaut.png")


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).float()[None] / 255


def against_astronaut(picture: Tensor) -> Pair:
    return pair(picture, tensor(astronaut()))


def jpeg(quality: int) -> Image.Image:
    data = BytesIO()
    astronaut().save(data, "JPEG", quality=quality)
    return Image.open(data)


def test_identical_pictures() -> None:
    assert lpips(against_astronaut(tensor(astronaut()))).item() == 0


def test_blur() -> None:
    blurred = tensor(astronaut().filter(ImageFilter.GaussianBlur(1)))
    assert lpips(against_astronaut(blurred)).item() == pytest.approx(0.1307, abs=1e-3)


def test_compression() -> None:
    assert lpips(against_astronaut(tensor(jpeg(10)))).item() == pytest.approx(0.2195, abs=1e-3)


def test_noise() -> None:
    noise = torch.randn(1, 256, 256, 3, generator=torch.Generator().manual_seed(0)) * 5 / 255
    noisy = (tensor(astronaut()) + noise).clamp(0, 1)
    # Other noise of this strength moves the value in the third decimal place.
    assert lpips(against_astronaut(noisy)).item() == pytest.approx(0.0544, abs=1.5e-3)


def test_the_spatial_variant_weighs_the_same_differences() -> None:
    clips = against_astronaut(tensor(jpeg(10)))
    assert spatial_lpips(clips).item() == pytest.approx(lpips(clips).item(), rel=1e-3)


def test_the_heads_are_those_of_torchmetrics() -> None:
    file = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    folder = folder_of(WEIGHTS)
    assert folder is not None
    ours = load_file(folder / FILE)
    for n in range(5):
        assert torch.equal(ours[f"head{n}.weight"], heads[f"lin{n}.model.1.weight"].half())


def test_frames_are_judged_one_by_one() -> None:
    picture, blurred = tensor(astronaut()), tensor(astronaut().filter(ImageFilter.GaussianBlur(2)))
    clips = pair(torch.cat([picture, blurred]), torch.cat([picture, picture]))
    first, second = lpips(clips)
    assert first == 0
    assert second == lpips(against_astronaut(blurred))


def test_the_smallest_picture() -> None:
    small = torch.rand(1, SMALLEST, SMALLEST, 3)
    assert lpips(pair(small, 1 - small)).isfinite().all()
    with pytest.raises(RuntimeError):
        lpips(pair(small[:, 1:], small[:, 1:]))
