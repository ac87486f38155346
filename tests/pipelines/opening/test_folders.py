"""Model folders that are damaged, incomplete or something else are refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from skipstone.pipelines.opening.sources import load, locate, pipeline_class
from support import saved


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny text-to-image pipeline."""
    return saved.save_flux(tmp_path_factory.mktemp("flux"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def opened(folder: Path) -> Any:
    """What a command does with a folder, without the run."""
    source = locate(str(folder))
    pipeline_class(source)
    return load(source, torch.float32, torch.device("cpu"))


def test_a_whole_folder_is_loaded(folder: Path) -> None:
    assert type(opened(folder)).__name__ == "FluxPipeline"


def index(**values: Any) -> Callable[[Path], object]:
    return lambda folder: change(folder / "model_index.json", **values)


def config(part: str, **values: Any) -> Callable[[Path], object]:
    return lambda folder: change(folder / part / "config.json", **values)


def weights(content: bytes) -> Callable[[Path], object]:
    return lambda folder: next((folder / "vae").glob("*.safetensors")).write_bytes(content)


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def renamed(folder: Path) -> None:
    """A text encoder whose weights have names that no library reads: it is filled with random ones."""
    path = folder / "text_encoder" / "model.safetensors"
    given = {f"elsewhere.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(given, path, metadata={"format": "pt"})


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a nested index": (written("model_index.json", b"[" * 100_000), "cannot read the model_index.json"),
    "an index that is a list": (written("model_index.json", b"[1]"), "cannot read the model_index.json"),
    "an index in bytes": (written("model_index.json", b"\xff\xfe"), "cannot read the model_index.json"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "not a diffusers pipeline"),
    "a number for a class": (index(_class_name=3), "names the class 3"),
    "the base class": (index(_class_name="DiffusionPipeline"), "not a pipeline that can run"),
    "a scheduler": (index(_class_name="DDIMScheduler"), "not a pipeline that can run"),
    "another pipeline": (index(_class_name="WanPipeline"), "cannot load"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "cannot load"),
    "no weights": (
        lambda folder: next((folder / "vae").glob("*.safetensors")).unlink(),
        "cannot load",
    ),
    "weights cut off": (weights(b"x" * 99), "cannot load"),
    "empty weights": (weights(b""), "cannot load"),
    "an empty configuration": (written("vae/config.json", b""), "cannot load"),
    "more layers than weights": (config("transformer", num_layers=3), "cannot load"),
    "fewer layers than weights": (config("transformer", num_single_layers=0), "do not belong together"),
    "weights of other names": (renamed, "of text_encoder is not what its file holds"),
    "a wider text encoder": (config("text_encoder", hidden_size=12), "cannot load"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_a_line(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=said) as refused:
        opened(folder)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 800


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "a" * 5000, "a\0b", "a/b/c"])
def test_a_name_that_no_model_can_have_is_a_line(name: str) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        locate(name)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.LocalEntryNotFoundError("offline"), "no connection to the hub, and it was not downloaded"),
        (errors.EntryNotFoundError("404"), "it has no model_index.json, so it is not a diffusers pipeline"),
        (OSError("disk"), "disk"),
    ],
)
def test_what_the_hub_says_is_a_line(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ValueError, match=f"^cannot load owner/name: {said}"):
        pipeline_class(locate("owner/name"))
