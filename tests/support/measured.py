"""Rows as a sweep writes them, with values made up."""

from typing import Any

from skipstone.report.rows import CACHED, PLAIN, REPEAT, SCHEMA, UNCACHED


def row(
    kind: str = CACHED, prompt: str = "p0", psnr: float = 30.0, speedup: float = 2.0, **more: Any
) -> dict[str, Any]:
    """One measurement, as the sweep writes it."""
    steps = more.pop("steps", 10)
    cached = kind == CACHED
    quality = {} if kind == UNCACHED else {"psnr": psnr, "psnr_low": psnr, "psnr_worst": psnr - 1}
    return {
        "schema": SCHEMA, "kind": kind, "method": "fora" if cached else "", "prompt": prompt, "seed": 0,
        "setting": "interval=2" if cached else "", "steps_asked": steps if kind == PLAIN else None,
        "steps": steps, "strip": "#." * (steps // 2), "computed_share": 0.5, "bytes_held": 1_000_000,
        "computed_steps": steps // 2, "parts": {},
        "loop_seconds": 10 / speedup, "call_seconds": 10 / speedup + 5, "speedup": speedup,
        "call_speedup": 15 / (10 / speedup + 5),
        "expected_errors": [],
        **quality, **more,
    }  # fmt: skip


HEADER = {
    "schema": SCHEMA, "kind": "sweep", "model": "tiny", "pipeline": "WanPipeline", "scheduler": "Euler",
    "arguments": {"num_inference_steps": 10}, "dtype": "float32", "fps": None, "device": "cpu",
    "versions": {"torch": "2", "diffusers": "0"},
    "python": "3", "command": "skipstone report", "speedups": [2.0],
    "metrics": ["psnr"], "left_out": {},
}  # fmt: skip


def sweep_of(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with a reference and a repeated run before them."""
    return [dict(HEADER), row(UNCACHED, speedup=1.0), row(REPEAT, psnr=100.0, speedup=1.0), *rows]
