"""Importing skipstone is cheap and changes nothing."""

import subprocess
import sys

import skipstone

HEAVY = ("diffusers", "transformers", "triton", "torchmetrics", "imageio", "accelerate")


def modules_after(program: str) -> set[str]:
    """The top-level modules that a program has imported, beside those of torch."""
    listing = "print(' '.join(m for m in set(sys.modules) - before if '.' not in m))"
    lines = ("import sys", "before = set()", program, listing)
    output = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


def test_import_brings_in_nothing() -> None:
    brought = modules_after("import skipstone")
    assert "skipstone" in brought
    assert not brought & {"torch", *HEAVY}


def test_attaching_needs_nothing_but_torch() -> None:
    brought = modules_after("import torch; before = set(sys.modules)\nimport skipstone; skipstone.attach")
    assert "skipstone" in brought
    assert not brought & set(HEAVY)


def test_every_public_name_is_there() -> None:
    for name in skipstone.__all__:
        assert getattr(skipstone, name) is not None
        assert name in dir(skipstone)


def test_only_public_names_are_listed() -> None:
    """What skipstone's own modules define, and nothing that they import from elsewhere."""
    for name in set(dir(skipstone)) - {"__version__"}:
        home = getattr(getattr(skipstone, name), "__module__", "skipstone")
        assert home.partition(".")[0] in ("skipstone", "typing", "types", "collections"), name
    assert {"Any", "Literal", "annotations", "names", "cli"}.isdisjoint(dir(skipstone))
