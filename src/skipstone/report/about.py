"""What a sweep was measured on: model, machine, versions."""

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from skipstone.report.bench import Bench
from skipstone.report.design import Design
from skipstone.report.rows import SWEEP

PACKAGES = ("skipstone", "torch", "diffusers", "transformers", "torchmetrics", "triton")


def about(
    bench: Bench, model: str | None, design: Design, dtype: torch.dtype, left_out: dict[str, str]
) -> dict[str, Any]:
    """The row that says what the others were measured on."""
    name = type(bench.pipe).__name__
    return {
        "kind": SWEEP,
        "model": model or name,
        "pipeline": name,
        "scheduler": type(bench.pipe.scheduler).__name__,
        "arguments": {key: _plain(value) for key, value in bench.arguments.items()},
        "dtype": str(dtype).removeprefix("torch."),
        "fps": bench.fps,
        "device": device_name(bench.device),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "command": command(),
        "methods": list(design.methods),
        "speedups": list(design.speedups),
        "seeds": list(design.seeds),
        "metrics": list(design.metrics),
        "prompts": list(design.prompts),
        "left_out": left_out,
    }


def command() -> str:
    """The command line of this process."""
    return shlex.join(["skipstone" if "skipstone" in sys.argv[0] else sys.argv[0], *sys.argv[1:]])


def device_name(device: torch.device) -> str:
    """The usual name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}), threads: {torch.get_num_threads()}"


def _plain(value: Any) -> Any:
    """A value that JSON can hold, or else the name of its class; tensors would be too long."""
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
