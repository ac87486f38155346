"""Write compatibility.md from runs of the tests' tiny models; ``--check`` only says whether it is stale."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

import skipstone
from skipstone import FORA, Cacher, DeepCache, EasyCache, FirstBlock, RunStats, TeaCache
from skipstone.cachers.contract.words import LayerKind, Site
from skipstone.notice import Notice
from skipstone.pipelines.model.models import MODELS
from skipstone.pipelines.model.probes import model_input, time_embeddings
from skipstone.pipelines.vae import kept_plans
from skipstone.pipelines.vae.own_loops import loop_of
from skipstone.pipelines.vae.side import encoding

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "compatibility.md"
sys.path.insert(0, str(DOCS.parent / "tests"))

from written import written  # noqa: E402

from support.tiny_pipelines import PIPELINES  # noqa: E402
from support.toy import ToyPipeline  # noqa: E402
from support.unets import UNETS, made  # noqa: E402
from support.vaes import BY_OWN_LOOP, BY_TRIAL, REFUSED, Make, decoded, error, latents  # noqa: E402
from support.vaes import made as made_vae  # noqa: E402
from support.zoo import ZOO, drawn  # noqa: E402

HEAD = f"""# Compatibility
Written by `python docs/make/compatibility.py` with diffusers {diffusers.__version__}: each row is a tiny
model with random weights, run with a method that may skip every step. Do not edit it by hand.

- **sites**: where methods can work. A method for a stack of blocks works on the first named site.
- **first block**, **modulated input**, **time embedding**, **model input**: whether methods can read this
  probe on the model.
- **layers**: the kinds of layers in its blocks that can be skipped one by one.
- **pipelines**: the pipelines that the tests run with a tiny version of this model, and their guidance: in
  one *batch*, in evaluations *in turn*, *distilled* into an input of the model, or *none*.
- **notes**: `last_run.notes` of a run with TeaCache.

`shared-prefix` works on SkyReels-V2's diffusion forcing, and `block_causal` on `WanTransformer3DModel`;
[shared_prefix.md](shared_prefix.md) says why on no others.

| model | sites | first block | modulated input | time embedding | model input | layers | pipelines | notes |
|---|---|---|---|---|---|---|---|---|
"""
AUTOENCODERS = """
## Video autoencoders
What [`decode_in_chunks`, `stream_decode` and `encode_in_chunks`](long_video.md) do with each, tiny and with
random weights, one latent frame at a time.

- **by**: a *trial*, or the class's *own chunks*.
- **error**: at most; the largest difference of a decode in chunks from the whole one, of the largest value,
  in float64 and float32. 0 is equal in all bits. The norms of LTX 0.9 always compute in float32.
- **stream**: how many frames come first, of those that 9 latent frames give.
- **encodes in chunks**: with the error in float64.

| autoencoder | decodes in chunks | by | error, float64 | float32 | stream | encodes in chunks |
|---|---|---|---|---|---|---|
"""
OUTPUT = "the whole output is estimated instead"


@dataclass(frozen=True)
class EveryLayer(FORA):
    """Skips every layer on its own."""

    @property
    def site(self) -> Site:
        return Site.LAYER

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return frozenset(LayerKind) - {LayerKind.BLOCK}


@dataclass(frozen=True)
class Row:
    """A model of the table, the keyword arguments of its calls, and the guidance of its pipelines."""

    name: str
    model: nn.Module
    inputs: dict[str, Any]
    pipelines: Mapping[str, set[str]]

    def run(self, method: Cacher[Any]) -> RunStats | None:
        """All steps of a run but the last; None where the method refuses the model."""
        pipe = ToyPipeline(self.model)
        calls = [drawn(self.inputs, torch.Generator().manual_seed(0)) for _ in range(3)]
        try:
            cache = skipstone.attach(pipe, method)
        except ValueError:
            return None
        with torch.no_grad(), cache:
            pipe(calls, steps=4)
        return cache.last_run

    def layers(self) -> str:
        """The kinds of layers that were skipped."""
        run = self.run(EveryLayer(1000))
        return "" if run is None else ", ".join(kind for kind, calls in run.parts.items() if calls["skipped"])

    def __str__(self) -> str:
        run = self.run(TeaCache(threshold=1e9, rescale="none"))
        assert run is not None
        whole = any(OUTPUT in note for note in run.notes)
        deep = self.run(DeepCache(interval=1000))
        cells = [
            f"`{self.name}`",
            ", ".join([*["stack"] * (not whole), "whole output", *["deep branch"] * _skips(deep)]),
            _yes(_skips(self.run(FirstBlock(threshold=1e9)))),
            _yes(_skips(run) and not whole),
            _yes(time_embeddings(self.model, [0.0]) is not None),
            _yes(_skips(self.run(EasyCache(threshold=1e9, warmup=0)))),
            self.layers(),
            ", ".join(
                f"{name} ({' or '.join(sorted(kinds))})" for name, kinds in sorted(self.pipelines.items())
            ),
            "; ".join(note.removeprefix("transformer: ") for note in run.notes),
        ]
        return f"| {' | '.join(cells)} |\n"


def autoencoders() -> Iterator[str]:
    """A line for each video autoencoder."""
    for name, make in sorted({**BY_TRIAL, **BY_OWN_LOOP, **REFUSED}.items()):
        kind, _, version = name.partition(" ")
        yield f"| `{kind}`{version and ' ' + version} | {' | '.join(_in_chunks(make))} |\n"


def _in_chunks(make: Make) -> Iterator[str]:
    vae, chunked, whole, why = _both_ways(make, torch.float64)
    yield f"no: {why}" if why else "yes"
    yield "" if why else "own chunks" if loop_of(vae) else "trial"
    yield "" if why else _at_most(error(chunked, whole))
    yield "" if why else _at_most(error(*_both_ways(make, torch.float32)[1:3]))
    first = next(iter(skipstone.stream_decode(vae, latents(9), 1)))
    yield "all" if why else f"{first.shape[2]} of {whole.shape[2]}"
    yield _encodes(make)


def _both_ways(make: Make, dtype: torch.dtype) -> tuple[Any, Tensor, Tensor, str | None]:
    """An autoencoder, what it decodes in chunks and as a whole, and why not in chunks."""
    vae, video = made_vae(make, dtype), latents(9, dtype=dtype)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        chunked = decoded(vae, video)
    assert handle.last_call is not None
    return vae, chunked, whole, handle.last_call.why_whole


def _at_most(found: float) -> str:
    """A bound: the digits of an error differ between processors."""
    bounds = (bound for bound in (0, 1e-12, 1e-5) if found <= bound)
    return f"{next(bounds, found):.0g}"


@torch.no_grad()
def _encodes(make: Make) -> str:
    vae = made_vae(make)
    if loop_of(vae) is not None:
        return "by itself"
    side = encoding(vae)
    noise = torch.Generator().manual_seed(0)
    shape = (1, side.channels, side.frames(5), side.edge, side.edge)
    video = torch.randn(shape, generator=noise, dtype=torch.float64)
    whole = vae.encode(video, return_dict=False)[0].mode()
    with skipstone.encode_in_chunks(vae, chunk=1) as handle:
        found = error(vae.encode(video, return_dict=False)[0].mode(), whole)
    assert handle.last_call is not None
    return "no" if handle.last_call.why_whole else f"yes, {_at_most(found)}"


def rows() -> Iterator[Row]:
    """Every transformer class, then the UNets."""
    found = layouts()
    for name, species in sorted(ZOO.items()):
        model = species.model()
        yield Row(name, model, species.inputs, found.get(kind(model), {}))
    for name, (_, _, inputs) in UNETS.items():
        model = made(name)
        yield Row(name, model, {**inputs, "return_dict": False}, found.get(kind(model), {}))


def kind(model: Any) -> str:
    """A model's class, and what tells the UNet of SDXL from that of Stable Diffusion."""
    return f"{type(model).__name__} {model.config.get('addition_embed_type')}"


def layouts() -> dict[str, dict[str, set[str]]]:
    """For each kind of model its pipelines, and how their guidance is laid out in a run."""
    found: dict[str, dict[str, set[str]]] = {}
    for layout in PIPELINES.values():
        tiny = layout.make()
        model = next(
            getattr(tiny.pipe, name) for name in MODELS if getattr(tiny.pipe, name, None) is not None
        )
        pipelines = found.setdefault(kind(model), {})
        pipelines.setdefault(type(tiny.pipe).__name__, set()).add(guidance(tiny, model))
    return found


def guidance(tiny: Any, model: nn.Module) -> str:
    """How a run with one prompt calls the model."""
    calls: list[tuple[int, bool]] = []

    def look(_: nn.Module, args: Any, kwargs: Any) -> None:
        latents = model_input(model, args, kwargs)
        assert latents is not None
        calls.append((len(latents), kwargs.get("guidance") is not None))

    hook = model.register_forward_pre_hook(look, with_kwargs=True)
    with skipstone.attach(tiny.pipe, TeaCache(threshold=0.0)) as cache:
        tiny(num_inference_steps=3)
    hook.remove()
    batch, distilled = max(calls)
    names = {name.partition(" ")[2] for name in cache.last_run.branches}
    in_turn = ["in turn"] * (len(names) > 1)
    return " and ".join(["batch"] * (batch > 1) + in_turn) or ("distilled" if distilled else "none")


def _skips(run: RunStats | None) -> bool:
    return run is not None and run.skipped > 0


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> int:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        kept_plans.cache_folder = lambda name: Path(folder)
        new = HEAD + "".join(map(str, rows())) + AUTOENCODERS + "".join(autoencoders())
    return written({PAGE: new}, "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
