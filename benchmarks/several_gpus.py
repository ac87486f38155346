"""Caches on several devices of one host, in JSON rows: by default two CUDA devices joined by NCCL.

Parts: ``shared`` is a model whose tokens or weights are spread (context parallel by Ulysses and ring, tensor
parallel, ``fully_shard``); ``data`` is one report by several processes; ``death`` is a process that dies in
the middle of either. On the CPU the processes are joined by gloo.
"""

import argparse
from pathlib import Path

from ranks import data, death, shared
from ranks.joined import Asked, start

PARTS = ("shared", "data", "death")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where several_gpus.jsonl goes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=tuple(shared.MODELS), default=["wan-1.3b", "flux"])
    parser.add_argument("--ways", nargs="+", choices=tuple(shared.WAYS), default=["ulysses", "ring"])
    parser.add_argument("--count", type=int, default=2, help="processes")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=32, help="prompts of the report")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the program out")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asked = Asked(given.folder, given.device, given.count, given.models, given.ways, given.steps, given.tiny)
    if "shared" in given.parts:
        start(asked, shared.measure)
    if "data" in given.parts:
        data.measure(asked, given.prompts)
    if "death" in given.parts:
        death.measure(asked)


if __name__ == "__main__":
    main()
