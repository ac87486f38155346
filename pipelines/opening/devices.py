"""The device and the number type of a pipeline."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def available() -> list[str]:
    """The kinds of devices of this machine, fastest first."""
    kinds = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, there in kinds.items() if there]


def find_device(name: str | None) -> torch.device:
    """Find a device by name; None takes the fastest.

    Args:
        name: such as ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        device = torch.device(name or available()[0])
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"no device {name!r} on this machine; it has: {', '.join(available())}") from None
    if device.type == "meta":
        raise ValueError("the meta device holds no numbers; use one of: " + ", ".join(available()))
    return device


def find_dtype(name: str | None, device: torch.device, is_bundled: bool) -> torch.dtype:
    """Find a number type by name; None takes float32 on a CPU and for bundled models, else bfloat16.

    Raises:
        ValueError: an unknown type.
    """
    if name is None:
        return torch.float32 if is_bundled or device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; choose one of: {', '.join(DTYPES)}")
    return DTYPES[name]
