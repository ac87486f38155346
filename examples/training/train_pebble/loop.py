"""The joint training of a transformer and its text encoders, for the video and the image model alike."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from latents import Ring, Studio
from restoring import load_parts
from torch import nn
from training import Average, Clock, Optimizer, learning_rate, recorded, save_parts

CAPTION_DROP = 0.1

Loss = Callable[[list[torch.Tensor]], torch.Tensor]


def pick_phrasings(columns: list[torch.Tensor], empty: list[torch.Tensor]) -> list[torch.Tensor]:
    """One phrasing of each scene, or now and then the empty caption, the same for every tokenizer."""
    count, phrasings = columns[0].shape[:2]
    rows = torch.arange(count, device=columns[0].device)
    chosen = torch.randint(0, phrasings, (count,), device=rows.device)
    dropped = torch.rand(count, 1, device=rows.device) < CAPTION_DROP
    return [torch.where(dropped, none, ids[rows, chosen]) for ids, none in zip(columns, empty, strict=True)]


def in_a_layer(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is the weight of attention or feed-forward in a transformer's block."""
    return "blocks." in name and ".norm" not in name and parameter.ndim == 2


class Trainer:
    """Optimizer, average and log of one run."""

    def __init__(self, kind: str, modules: dict[str, nn.Module], arguments: argparse.Namespace) -> None:
        self.kind, self.modules, self.arguments = kind, modules, arguments
        named = [pair for module in modules.values() for pair in module.named_parameters()]
        hidden = [parameter for name, parameter in named if in_a_layer(name, parameter)]
        others = [parameter for name, parameter in named if not in_a_layer(name, parameter)]
        self.optimizer = Optimizer(others, (0.9, 0.98), 0.01, hidden)
        self.average = Average(modules, arguments.average)
        self.clock = Clock(arguments.seconds)
        self.recent = 0.0

    def set_rate(self, share: float) -> None:
        arguments = self.arguments
        rate = learning_rate(arguments.rate, self.clock.steps, share, arguments.warmup, arguments.decay_from)
        self.optimizer.rate.fill_(rate)

    def log(self, losses: list[torch.Tensor]) -> None:
        self.recent = torch.stack(losses).mean().item()
        print(
            f"{self.kind} {self.clock.steps} loss {self.recent:.4f} {self.clock.pace():.1f} ms/step",
            flush=True,
        )
        losses.clear()

    def save(self) -> None:
        """Write the averaged weights and a short report."""
        self.average.swap()
        save_parts(self.modules, self.arguments.out / self.kind)
        self.average.swap()
        report = {"steps": self.clock.steps, "loss": self.recent, "milliseconds_per_step": self.clock.pace()}
        settings = {key: getattr(self.arguments, key) for key in ("seconds", "batch", "rate", "pool", "seed")}
        (self.arguments.out / f"{self.kind}.json").write_text(json.dumps(settings | report, indent=2))

    def run(self, studio: Studio, empty: list[torch.Tensor], loss_of: Loss) -> None:
        """Fill the ring, then train until the time is over; save at each third."""
        arguments, saved, losses = self.arguments, 0.0, []
        ring = Ring(studio, arguments.pool, arguments.chunk)

        def update(latents: torch.Tensor, *columns: torch.Tensor) -> torch.Tensor:
            with torch.autocast(latents.device.type, torch.bfloat16):
                loss = loss_of([latents, *pick_phrasings(list(columns), empty)])
            return self.optimizer.step(loss)

        print(f"{self.kind}: {arguments.pool} scenes after {self.clock.seconds_used:.0f} s", flush=True)
        step = recorded(update, ring.draw(arguments.batch)) if arguments.record else update
        print(f"{self.kind}: recorded after {self.clock.seconds_used:.0f} s", flush=True)
        while (share := self.clock.share) < 1 and self.clock.steps < arguments.max_steps:
            self.set_rate(share)
            losses.append(step(*ring.draw(arguments.batch)))
            self.average.update(self.clock.steps)
            self.clock.steps += 1
            if self.clock.steps % arguments.refresh_every == 0:
                ring.refresh()
            if self.clock.steps % arguments.log_every == 0:
                self.log(losses)
            if share - saved > 0.33:
                self.save()
                saved = share
        self.save()


def settings(description: str, batch: int, rate: float, pool: int) -> argparse.Namespace:
    """The command line that both trainings share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--decay-from", type=float, default=0.6, help="share of the time at the full rate")
    parser.add_argument("--average", type=float, default=0.9995)
    parser.add_argument("--pool", type=int, default=pool)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--refresh-every", type=int, default=32)
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--log-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", type=Path, help="folder of an earlier run to start from")
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--tokenizers", type=Path, default=Path("pebble/skipstone_pebble"))
    parser.add_argument("--autoencoders", type=Path, default=Path(".pebble/run"))
    parser.add_argument("--out", type=Path, default=Path(".pebble/run"))
    return parser.parse_args()


def prepare(kind: str, modules: dict[str, nn.Module], arguments: argparse.Namespace) -> dict[str, nn.Module]:
    """Seed, restore, move and compile the networks."""
    torch.backends.cuda.enable_cudnn_sdp(False)  # suspected of illegal accesses at lengths such as 77
    if arguments.resume:
        load_parts(modules, arguments.resume / kind)
    modules = {name: module.to(arguments.device).train() for name, module in modules.items()}
    if arguments.compile:
        modules["transformer"].compile_repeated_blocks(fullgraph=True)
    return modules
