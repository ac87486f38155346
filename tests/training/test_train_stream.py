"""The training of the causal video model: its one pass is the chunked run, and its scenes go on for ever."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

import skipstone
from support.tiny_pipelines.parts import noise, transformer

sys.path.append(str(Path(__file__).parents[2] / "examples" / "training" / "train_pebble"))

from causal_pass import Layout, attend_in_chunks, velocities
from motions import ENDLESS
from scenes import Batch, clip_times, draw_batch, render

LAYOUTS = [Layout(6, 2, 3, 1, 2), Layout(5, 2, 2, 0, 1), Layout(7, 1, 4, 2, 3)]
TEXT = noise(2, 5, 8, seed=7).double()


@pytest.fixture
def model() -> Any:
    return transformer("WanTransformer3DModel").double()


def chunk_by_chunk(
    model: WanTransformer3DModel, clean: Tensor, noisy: Tensor, sigmas: Tensor, layout: Layout
) -> Tensor:
    """The velocities of a chunked run: everything that is clean before a chunk is committed, one by one."""
    found, behind = [], list(zip(layout.numbers, range(len(layout.numbers)), strict=True))[layout.clean :]
    for number, place in behind:
        with skipstone.block_causal(
            model, layout.window * layout.frames, layout.sink * layout.frames
        ) as prefix:
            for n in range(number):
                prefix.commit(clean[:, n], sigmas[:, n] * 1000, TEXT)
            found.append(
                model(noisy[:, place - layout.clean], sigmas[:, place] * 1000, TEXT, return_dict=False)[0]
            )
    return torch.stack(found, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_one_pass_is_the_chunked_run(model: Any, layout: Layout) -> None:
    chunks = noise(2, len(layout.numbers), 4, layout.frames, 4, 4).double()
    sigmas = torch.rand(2, len(layout.numbers), generator=torch.Generator().manual_seed(1)).double()
    clean, noisy = chunks[:, : layout.clean], chunks[:, layout.clean :]
    expected = chunk_by_chunk(model, clean, noisy, sigmas, layout)
    attend_in_chunks(model, layout)
    found = velocities(model, chunks, sigmas, TEXT, layout)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_the_window_keeps_the_first_chunks_and_the_last_ones() -> None:
    layout = Layout(chunks=7, window=3, sink=1)
    assert [layout.seen(n) for n in range(7)] == [[], [0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]


def test_a_noisy_copy_stands_where_its_number_says() -> None:
    layout = Layout(chunks=3, firsts=3)
    chunks = torch.arange(3)[None]
    assert layout.numbers == [0, 1, 0, 0, 0, 1, 2]
    assert layout.noisy(chunks)[0].tolist() == layout.numbers[layout.clean :]


@pytest.fixture
def scenes() -> Batch:
    """One scene of each motion, of one opaque sprite."""
    batch = draw_batch(10, 1, torch.Generator().manual_seed(0))
    batch.motions[:, 0] = torch.arange(10)
    batch.paired[:], batch.backgrounds[:] = False, 0
    batch.colours[:, 0] = 8
    return batch


def test_every_motion_goes_on_and_nothing_gets_lost(scenes: Batch) -> None:
    """White sprites on black: at every time of a long video there is one, and it moves."""
    times = clip_times(10, torch.device("cpu"), 401)[:, ::4]
    clips = (render(scenes, torch.ones(1, 4, 8, 8), times, ENDLESS) + 1) / 2
    shares = clips[:, 0].gt(0.5).float().mean((2, 3))
    assert shares.min() > 0.01
    late = clips[:, 0, -13:]
    assert (late[:, 1:] - late[:, :-1]).abs().mean((2, 3)).amax(1).min() > 0.01


def test_what_leaves_on_one_side_comes_back_on_the_other(scenes: Batch) -> None:
    """What slides, rolls or falls covers as much of the picture at every time."""
    times = clip_times(10, torch.device("cpu"), 401)[:, ::8]
    clips = (render(scenes, torch.ones(1, 4, 8, 8), times, ENDLESS) + 1) / 2
    shares = clips[:, 0].gt(0.5).float().mean((2, 3))[ENDLESS.returns(torch.device("cpu"))]
    assert (shares.amax(1) / shares.amin(1)).max() < 1.05
