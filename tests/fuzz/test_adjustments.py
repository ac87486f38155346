"""Changed files of Block Caching: refused in one line, or read as finite numbers of the right shapes."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import skipstone
from skipstone.disk.errors import FileError
from support.mutations import changed_bytes, changed_values, check_refusal, fuzzed


def written() -> bytes:
    """A file of two blocks, one of them with two streams."""
    learned = skipstone.ScaleShift(5, {"blocks.0": [3, 2], "blocks.1": [3]})
    changes = {"blocks.0": (0.1, 0.25), "blocks.1": (0.3, 0.0)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.safetensors"
        skipstone.save_block_caching(skipstone.BlockCaching(0.3, changes, learned), path)
        return path.read_bytes()


WHOLE = written()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@fuzzed
@given(content=st.deferred(lambda: st.one_of(changed_bytes(WHOLE), changed_heads(WHOLE))))
def test_changed_adjustments(folder: Path, content: bytes) -> None:
    path = folder / "trained.safetensors"
    path.write_bytes(content)
    try:
        read = skipstone.load_block_caching(path)
    except FileError as error:
        check_refusal(error, "trained.safetensors")
        return
    assert 0 <= read.threshold < float("inf")
    assert read.changes
    assert all(0 <= value < float("inf") for values in read.changes.values() for value in values)
    if read.adjustment is not None:
        check_adjustment(read.adjustment)


def changed_heads(whole: bytes) -> st.SearchStrategy[bytes]:
    """The same weights under another description."""
    size = 8 + int.from_bytes(whole[:8], "little")
    return changed_values(json.loads(whole[8:size])).map(lambda head: with_head(head, whole[size:]))


def with_head(head: Any, weights: bytes) -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + weights


def check_adjustment(adjustment: skipstone.ScaleShift) -> None:
    """It corrects a residual of the sizes that it says to be for."""
    for key, linear in adjustment.linears.items():
        block, stream = key.rsplit("/", 1)
        channels, embedding = linear.weight.shape[0] // 2, torch.ones(1, linear.weight.shape[1])
        base = torch.ones(1, 2, channels)
        corrected = adjustment(base, base, block.replace("/", "."), int(stream), embedding)
        assert corrected.shape == base.shape
