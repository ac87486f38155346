"""Train the causal video transformer for a given time, from the weights of the bundled video model."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from causal_pass import Layout, attend_in_chunks, velocities
from conditioning import prepare_encoder, tokenize, wan_conditioning, weigh_stand_ins
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from flow import draw_sigmas, noised
from latents import Encode, Ring, Studio
from loop import in_a_layer, pick_phrasings
from models import VIDEO_SHIFT
from motions import ENDLESS
from rehearsal import mixture, rehearse
from restoring import load_parts
from scenes import load_atlas
from torch import Tensor
from train_video import encoder_of, tokenizer_of
from training import Average, Clock, Optimizer, learning_rate, recorded, save_parts
from transformers import AutoTokenizer, UMT5EncoderModel
from weights import restore
from weights import save as save_rows

KIND = "stream"
NOISED_SHARE, MOST_NOISE = 0.5, 0.1
"""In so many clips the clean chunks have a little noise, of a level up to this."""


class RehearsedStudio(Studio):
    """Makes scenes whose rehearsal is still the true clip."""

    def shoot(self, count: int) -> tuple[Tensor, ...]:
        """True latents, rehearsed latents, token ids."""
        latents, ids = super().shoot(count)
        return latents, latents, ids


def chunked(latents: Tensor, layout: Layout) -> Tensor:
    """Latents ``(batch, channels, time, height, width)`` as chunks."""
    return latents.float().unflatten(2, (layout.chunks, layout.frames)).transpose(1, 2)


def slightly_noised(chunks: Tensor) -> tuple[Tensor, Tensor]:
    """Clean chunks, in some clips with a little noise, and its levels ``(batch, chunk)``."""
    batch, count = chunks.shape[:2]
    levels = MOST_NOISE * torch.rand(batch, count, device=chunks.device)
    levels = levels * (torch.rand(batch, 1, device=chunks.device) < NOISED_SHARE)
    return noised(chunks.flatten(0, 1), levels.flatten())[0].view_as(chunks), levels


class StreamTrainer:
    """The networks, optimizer and average of one run.

    Args:
        arguments: the command line's.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.layout = arguments, Layout()
        self.device = torch.device(arguments.device)
        self.tokenizer = AutoTokenizer.from_pretrained(arguments.bundled / "tokenizer")
        self.encoder = UMT5EncoderModel.from_pretrained(arguments.bundled / "text_encoder")
        self.encoder.to(self.device).requires_grad_(False)
        prepare_encoder(self.encoder)
        self.transformer = transformer(arguments).to(self.device).train()
        attend_in_chunks(self.transformer, self.layout)
        weigh_stand_ins(self.transformer)
        if arguments.compile:
            self.transformer.compile_repeated_blocks(fullgraph=True)
        named = list(self.transformer.named_parameters())
        hidden = [parameter for name, parameter in named if in_a_layer(name, parameter)]
        others = [parameter for name, parameter in named if not in_a_layer(name, parameter)]
        self.optimizer = Optimizer(others, (0.9, 0.98), 0.01, hidden)
        self.average = Average({"transformer": self.transformer}, arguments.average)
        self.empty = tokenize(self.tokenizer, [""]).to(self.device)
        self.clock, self.started = Clock(arguments.seconds), 0.0

    def studio(self) -> RehearsedStudio:
        """What makes clips."""
        atlas, names = load_atlas(self.arguments.atlas, self.device)
        seed = self.arguments.seed + self.arguments.begin
        return RehearsedStudio(
            atlas=atlas,
            names=names,
            encode=encoder_from(self.arguments.bundled, self.device),
            tokenize=tokenizer_of(self.tokenizer, int(1000 * seed)),
            generator=torch.Generator(self.device).manual_seed(int(1000 * seed)),
            dance=ENDLESS,
            frames=4 * self.layout.chunks * self.layout.frames - 3,
        )

    def loss(self, latents: Tensor, rehearsed: Tensor, text: Tensor) -> Tensor:
        """Mean squared error of the predicted velocity of the noisy chunks."""
        true = chunked(latents, self.layout)
        before = mixture(true, chunked(rehearsed, self.layout))[:, : self.layout.clean]
        before, levels = slightly_noised(before)
        chunks = self.layout.noisy(true)
        sigmas = draw_sigmas(chunks[:, :, 0, 0, 0, 0].numel(), VIDEO_SHIFT, self.device)
        mixed, velocity = noised(chunks.flatten(0, 1), sigmas)
        everything = torch.cat([before, mixed.view_as(chunks)], 1)
        sigmas = torch.cat([levels, sigmas.view(chunks.shape[:2])], 1)
        predicted = velocities(self.transformer, everything, sigmas, text, self.layout)
        return (predicted.float() - velocity.view_as(chunks)).pow(2).mean()

    def update(self, latents: Tensor, rehearsed: Tensor, ids: Tensor) -> Tensor:
        """One step of the optimizer; returns the loss."""
        (chosen,) = pick_phrasings([ids], [self.empty])
        with torch.autocast(self.device.type, torch.bfloat16):
            text = self.text(chosen)
            loss = self.loss(latents, rehearsed, text)
        return self.optimizer.step(loss)

    @torch.no_grad()
    def rehearsed(self, latents: Tensor, rehearsed: Tensor, ids: Tensor) -> Tensor:
        """New rehearsals of some clips."""
        true, earlier = chunked(latents, self.layout), chunked(rehearsed, self.layout)
        with torch.autocast(self.device.type, torch.bfloat16):
            made = rehearse(self.transformer, true, earlier, self.text(ids[:, 0]), self.layout)
        return made.transpose(1, 2).flatten(2, 3).to(latents.dtype)

    @torch.no_grad()
    def text(self, ids: Tensor) -> Tensor:
        return wan_conditioning(self.encoder, ids)

    @property
    def share(self) -> float:
        """How much of the whole training, of which this run is a part, is over."""
        begin, end = self.arguments.begin, self.arguments.end
        return begin + (end - begin) * self.clock.share

    @property
    def rate(self) -> float:
        """The learning rate at this time."""
        arguments = self.arguments
        return learning_rate(
            arguments.rate, self.clock.steps, self.share, arguments.warmup, arguments.decay_from
        )

    def train(self) -> None:
        """Fill the ring and train until the time is over."""
        ring, losses = self.filled(), []
        step, again = self.prepared(self.update, ring), self.prepared(self.rehearsed, ring)
        self.started = saved = self.clock.seconds_used
        while self.clock.share < 1 and self.clock.steps < self.arguments.max_steps:
            self.optimizer.rate.fill_(self.rate)
            losses.append(step(*ring.draw(self.arguments.batch)))
            self.average.update(self.clock.steps)
            self.clock.steps += 1
            self.renew(ring, again)
            self.log(losses)
            if self.clock.seconds_used - saved > self.arguments.save_every:
                self.save()
                saved = self.clock.seconds_used
        self.save()

    def filled(self) -> Ring:
        """A ring with as many clips as can be made in the time for it."""
        studio = self.studio()
        ring = Ring(studio, affordable(studio, self.arguments), self.arguments.chunk)
        self.tell(f"{ring.capacity} clips")
        return ring

    def prepared(self, step: Callable[..., Tensor], ring: Ring) -> Callable[..., Tensor]:
        """A step as a CUDA graph, if that is asked for."""
        if not self.arguments.record:
            return step
        made = recorded(step, ring.draw(self.arguments.batch))
        self.tell(f"recorded {step.__name__}")
        return made

    def renew(self, ring: Ring, again: Callable[..., Tensor]) -> None:
        """Every few steps, new rehearsals of some clips, and some new clips."""
        arguments, steps = self.arguments, self.clock.steps
        if self.share >= arguments.rehearse_from and steps % arguments.rehearse_every == 0:
            rows = torch.randperm(ring.capacity, device=self.device)[: arguments.batch]
            ring.columns[1][rows] = again(*(column[rows] for column in ring.columns))
        if steps % arguments.refresh_every == 0:
            ring.refresh()

    def log(self, losses: list[Tensor]) -> None:
        """Every few steps, print their mean loss and forget them."""
        arguments, steps = self.arguments, self.clock.steps
        if steps % arguments.log_every == 0:
            pace = arguments.batch * steps / (self.clock.seconds_used - self.started)
            mean = torch.stack(losses).mean().item()
            self.tell(f"loss {mean:.4f}, rate {self.rate:.1e}, {pace:.0f} clips/s")
            losses.clear()

    def tell(self, what: str) -> None:
        """Print what there is, with the time and the memory."""
        used = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        print(
            f"{KIND} {self.clock.steps} {self.clock.seconds_used:.0f} s, {used:.0f} GiB: {what}", flush=True
        )

    def save(self) -> None:
        """Write the averaged weights, in bf16 and as int8 rows, with a short report."""
        out = self.arguments.out
        self.average.swap()
        save_parts({"transformer": self.transformer}, out / KIND)
        save_rows({"transformer": self.transformer}, out / "transformer.safetensors")
        self.average.swap()
        settings = {key: value for key, value in vars(self.arguments).items() if not isinstance(value, Path)}
        report = {"steps": self.clock.steps, "share": self.share, **settings}
        (out / f"{KIND}.json").write_text(json.dumps(report, indent=2) + "\n")
        self.tell("saved")


def affordable(studio: Studio, arguments: argparse.Namespace) -> int:
    """How many clips can be made in the time that is given for it, at most `arguments.pool`."""
    studio.shoot(arguments.chunk)  # what is compiled on the first call takes its time
    start = time.monotonic()
    studio.shoot(arguments.chunk)[0].sum().item()
    rounds = int(arguments.fill_seconds / (time.monotonic() - start))
    return min(arguments.pool, max(rounds, 1) * arguments.chunk)


def transformer(arguments: argparse.Namespace) -> WanTransformer3DModel:
    """The bundled video model's transformer, or the one of an earlier run."""
    folder = arguments.bundled / "transformer"
    if arguments.resume is None:
        return WanTransformer3DModel.from_pretrained(folder)
    model = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(folder))
    if arguments.resume.is_file():
        restore({"transformer": model}, arguments.resume)
    else:
        load_parts({"transformer": model}, arguments.resume / KIND)
    return model


def encoder_from(bundled: Path, device: torch.device) -> Encode:
    """Clips to whitened latents."""
    autoencoder = AutoencoderKLWan.from_pretrained(bundled / "vae").eval().requires_grad_(False)
    return encoder_of(autoencoder, device)


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument(
        "--begin", type=float, default=0.0, help="share of the whole training that is over before this run"
    )
    parser.add_argument("--end", type=float, default=1.0, help="share that is over after it")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument(
        "--decay-from", type=float, default=0.6, help="share of the training at the full rate"
    )
    parser.add_argument("--average", type=float, default=0.999)
    parser.add_argument("--pool", type=int, default=3072)
    parser.add_argument("--fill-seconds", type=float, default=60, help="for the first clips of the pool")
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--refresh-every", type=int, default=64)
    parser.add_argument("--rehearse-from", type=float, default=0.15)
    parser.add_argument("--rehearse-every", type=int, default=4)
    parser.add_argument("--save-every", type=float, default=100, help="seconds")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", type=Path, help="an earlier run's folder, or its transformer.safetensors")
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--bundled", type=Path, default=Path("pebble/skipstone_pebble/pebble-video"))
    parser.add_argument("--out", type=Path, default=Path(".pebble/run"))
    return parser.parse_args()


if __name__ == "__main__":
    chosen = settings()
    torch.manual_seed(chosen.seed + int(1000 * chosen.begin))
    torch.backends.cuda.enable_cudnn_sdp(False)  # suspected of illegal accesses at lengths such as 77
    torch.backends.cuda.matmul.allow_tf32 = True
    chosen.out.mkdir(parents=True, exist_ok=True)
    StreamTrainer(chosen).train()
