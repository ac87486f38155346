"""Train one proving model for a given time; `train.sh` trains all of them side by side on one GPU."""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loading
import torch
import torch.nn.functional as F
from captions import Scene, image_caption, video_caption
from kind import Kind, Networks
from kinds import KINDS
from latents import Ring
from motions import CLIP, STILL
from parts import FRAMES, SIDE
from scenes import clip_times, describe, draw_batch, load_atlas, render
from torch import Tensor, nn
from training import Average, Clock, Optimizer, learning_rate, recorded
from weights import restore, save

CAPTION_DROP = 0.1
SPRITES = 3
"""Every third sprite of the bundled models: small models learn those well."""


@dataclass
class Scenery:
    """Makes encoded scenes with what their captions are to a pipeline's networks."""

    kind: Kind
    pipe: Any
    atlas: Tensor
    names: list[str]
    generator: torch.Generator
    chooser: random.Random

    @torch.no_grad()
    def shoot(self, count: int) -> tuple[Tensor, ...]:
        """The examples of `count` new scenes and their conditions."""
        batch = draw_batch(count, len(self.names), self.generator)
        times = clip_times(count, self.atlas.device, FRAMES if self.kind.moving else 1)
        dance = CLIP if self.kind.moving else STILL
        pictures = F.avg_pool3d(render(batch, self.atlas, times, dance), (1, 2, 2))
        assert pictures.shape[-1] == SIDE
        condition = self.kind.condition(
            self.pipe, [self.caption(scene) for scene in describe(batch, self.names)]
        )
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=pictures.is_cuda):
            examples = self.kind.examples(self.pipe, pictures, condition)
        return tuple(value.to(torch.bfloat16) for value in (examples, *condition))

    def caption(self, scene: Scene) -> str:
        """One phrasing of a scene."""
        return (video_caption if self.kind.moving else image_caption)(scene, self.chooser)


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix or a convolution inside a block."""
    return "blocks." in name and ".norm" not in name and parameter.ndim in (2, 4)


def dropped(condition: list[Tensor], empty: list[Tensor]) -> list[Tensor]:
    """The conditions with now and then the empty caption's in their place."""
    count = len(condition[0])
    drop = torch.rand(count, device=condition[0].device) < CAPTION_DROP
    return [
        torch.where(drop.view(-1, *[1] * (given.ndim - 1)), none.to(given.dtype), given)
        for given, none in zip(condition, empty, strict=True)
    ]


def learn(kind: Kind, pipe: Any, arguments: argparse.Namespace) -> None:
    """Give a kind its teacher, if it has one."""
    if kind.teacher is not None:
        teacher = loading.load(kind.teacher, arguments.device, folder=arguments.out)
        with torch.no_grad():
            empty = list(KINDS[kind.teacher].condition(pipe, [""]))
        kind.taught_by = {"transformer": teacher.transformer}, empty


def train(kind: Kind, arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.backends.cuda.enable_cudnn_sdp(False)  # suspected of illegal accesses at lengths such as 77
    device = torch.device(arguments.device)
    networks = kind.networks()
    if kind.teacher is not None:
        start = KINDS[kind.teacher].networks()
        restore(start, arguments.out / f"{kind.teacher}.safetensors")
        networks["transformer"].load_state_dict(start["transformer"].state_dict(), strict=False)
    pipe = kind.pipeline(networks).to(device)
    learn(kind, pipe, arguments)
    atlas, names = load_atlas(arguments.atlas, device)
    scenery = Scenery(
        kind,
        pipe,
        atlas[::SPRITES].contiguous(),
        names[::SPRITES],
        torch.Generator(device).manual_seed(arguments.seed),
        random.Random(arguments.seed),
    )
    run(kind, pipe, {name: network.train() for name, network in networks.items()}, scenery, arguments)


def run(kind: Kind, pipe: Any, networks: Networks, scenery: Scenery, arguments: argparse.Namespace) -> None:
    """Fill the ring, then train until the time is over, saving the averaged weights now and then."""
    clock, saved = Clock(arguments.seconds), 0.0
    named = [pair for network in networks.values() for pair in network.named_parameters()]
    optimizer = Optimizer(
        [parameter for name, parameter in named if not is_hidden(name, parameter)],
        (0.9, 0.98),
        0.01,
        [parameter for name, parameter in named if is_hidden(name, parameter)],
    )
    average = Average(networks, arguments.average)
    with torch.no_grad():
        empty = [value.bfloat16() for value in kind.condition(pipe, [""])]
    ring = Ring(scenery, arguments.pool, arguments.chunk)  # type: ignore[arg-type]
    print(f"{kind.name}: {arguments.pool} scenes after {clock.seconds_used:.0f} s", flush=True)

    def update(latents: Tensor, *condition: Tensor) -> Tensor:
        given = list(condition) if kind.teacher else dropped(list(condition), empty)
        with torch.autocast(latents.device.type, torch.bfloat16):
            loss = kind.loss(networks, latents.float(), [value.float() for value in given])
        return optimizer.step(loss)

    step = recorded(update, ring.draw(arguments.batch)) if arguments.record else update
    print(f"{kind.name}: recorded after {clock.seconds_used:.0f} s", flush=True)
    loss, losses = 0.0, []
    while (share := clock.share) < 1:
        optimizer.rate.fill_(learning_rate(arguments.rate, clock.steps, share, arguments.warmup, 0.6))
        losses.append(step(*ring.draw(arguments.batch)))
        average.update(clock.steps)
        clock.steps += 1
        if clock.steps % arguments.refresh_every == 0:
            ring.refresh()
        if clock.steps % arguments.log_every == 0:
            loss = torch.stack(losses).mean().item()
            losses.clear()
            print(f"{kind.name} {clock.steps} loss {loss:.4f} {clock.pace():.1f} ms/step", flush=True)
        if share - saved > 0.24:
            write(kind, networks, average, clock, loss, arguments)
            saved = share
    write(kind, networks, average, clock, loss, arguments)


def write(
    kind: Kind, networks: Networks, average: Average, clock: Clock, loss: float, arguments: argparse.Namespace
) -> None:
    """Write the averaged weights and a short report."""
    average.swap()
    save(networks, arguments.out / f"{kind.name}.safetensors")
    average.swap()
    report = {"seconds": arguments.seconds, "batch": arguments.batch, "rate": arguments.rate}
    report |= {"steps": clock.steps, "loss": loss, "milliseconds_per_step": clock.pace()}
    (arguments.out / f"{kind.name}.json").write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(KINDS))
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--average", type=float, default=0.999)
    parser.add_argument("--pool", type=int, default=16384)
    parser.add_argument("--chunk", type=int, default=128)
    parser.add_argument("--refresh-every", type=int, default=32)
    parser.add_argument("--log-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--out", type=Path, default=loading.WEIGHTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(KINDS[arguments.name], arguments)


if __name__ == "__main__":
    main()
