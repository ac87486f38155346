"""Find by trial which parts of a decoder must remember earlier frames, so that chunks give the whole."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.vae.attentions import Memory
from skipstone.pipelines.vae.chunked import Chunked, Video, outputs
from skipstone.pipelines.vae.padded import Padded
from skipstone.pipelines.vae.units import Unit, is_video, video_of
from skipstone.pipelines.vae.windows import Trimmed, Window

FRAMES = 9
"""How many latent frames the trial has: more than any window of a part spans."""

EDGE = 2
"""The height and the width of its latents."""

TOLERANCE = 1e-5
"""The largest error, of the largest value, at which chunks give the whole: some norms compute in float32."""

ROOM = 4
"""A device on which the trial runs has room for so many copies."""

Plan = dict[str, Unit]


class NotChunkedError(ValueError):
    """A decoder whose chunks do not give the whole, and which part of it is why."""


@dataclass(frozen=True)
class Seen:
    """The first call of a part: its arguments, and the video that it gave."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


def find_plan(
    coder: nn.Module, channels: int, frames: int = FRAMES, edge: int = EDGE, others: Sequence[Tensor] = ()
) -> Plan:
    """The units of the parts of a decoder or an encoder by name.

    The trial runs on a copy in float64, on the coder's device where that has much room, else on the CPU.

    Args:
        coder: the decoder, or the encoder.
        channels: of its input.
        frames: of the trial's input, as many as belong to `FRAMES` latent frames.
        edge: the height and the width of the trial's input.
        others: its other arguments.

    Raises:
        NotChunkedError: the frames of a part depend on all of them at once, or on chance.
    """
    device = _device(coder)
    trial = _copy(coder, device)
    noise = torch.Generator().manual_seed(0)
    shape = 1, channels, frames, edge, edge
    video = torch.randn(shape, generator=noise, dtype=torch.float64, device="cpu")
    given = [one.to(device, torch.float64) for one in (video, *others)]
    with torch.no_grad():
        if _differ(*(video_of(trial(*(one.clone() for one in given))) for _ in range(2))):
            raise NotChunkedError("it draws random numbers for each chunk")
        return _Planner(trial, given).plan("")


def _device(coder: nn.Module) -> torch.device:
    """Where the trial runs: who decodes in chunks is short of the coder's own memory."""
    weights = list(coder.parameters())
    device = weights[0].device if weights else torch.device("cpu")
    if device.type != "cuda":
        return torch.device("cpu")
    needed = sum(weight.numel() for weight in weights) * torch.float64.itemsize
    return device if torch.cuda.mem_get_info(device)[0] > ROOM * needed else torch.device("cpu")


def _copy(coder: nn.Module, device: torch.device) -> nn.Module:
    """A copy in float64. Weights that are away are drawn, and zeros, which would hide what a part needs."""
    from accelerate.hooks import remove_hook_from_module

    trial: nn.Module = remove_hook_from_module(copy.deepcopy(coder), recurse=True)
    noise = torch.Generator().manual_seed(0)
    for part in trial.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(_shown(weight, noise).to(device), requires_grad=False)
    return trial.to(device, torch.float64)


def _shown(weight: Tensor, noise: torch.Generator) -> Tensor:
    if not weight.is_meta and weight.any():
        return weight.detach().to(torch.float64)
    return torch.empty(weight.shape, dtype=torch.float64).uniform_(-0.5, 0.5, generator=noise)


class _Planner:
    """Plan a decoder part by part, from what one run has shown of each.

    Args:
        decoder: the decoder.
        given: its arguments: latents ``(1, channels, frames, height, width)``, and others.
    """

    def __init__(self, decoder: nn.Module, given: Sequence[Tensor]) -> None:
        self._parts = dict(decoder.named_modules())
        self._seen = _watched(self._parts, given)
        self._problem: NotChunkedError | None = None

    def plan(self, name: str) -> Plan:
        """The units of a part.

        Raises:
            NotChunkedError: there are none that give the whole.
        """
        if self._is_exact(name, {}):
            return {}
        units = self._of_children(name)
        if units and self._is_exact(name, units):
            return units
        return {name: self._as_one(name)}

    def _of_children(self, name: str) -> Plan:
        """The units of all children that have some; the others may be right inside a unit around them."""
        units: Plan = {}
        for child, _ in self._parts[name].named_children():
            inner = f"{name}.{child}" if name else child
            try:
                units.update(self.plan(inner) if inner in self._seen else self._of_children(inner))
            except NotChunkedError as problem:
                self._problem = self._problem or problem
        return units

    def _as_one(self, name: str) -> Unit:
        seen, short = self._seen[name], self._shortened(name)
        right = _changed(short, seen.output)
        if right == short.shape[2]:
            raise self._refusal(name, "depend on all of them at once")
        given, step = seen.args[0].shape[2], _step(seen.args[0])
        rate = Fraction(seen.output.shape[2] - short.shape[2], step)
        # A window over all of the past would prove nothing.
        windows = range(1, given - 2 * step) if rate else ()
        units: list[Unit] = [*(Window(left, rate, right) for left in windows), Memory()]
        for unit in units:
            if self._is_exact(name, {name: unit}):
                return self._trimmed(name, unit)
        raise self._refusal(name, "depend on all earlier ones")

    def _trimmed(self, name: str, unit: Unit) -> Unit:
        """A unit that computes less, where there is one."""
        if not isinstance(unit, Window) or unit.right:
            return unit
        less = (kind(unit.left, unit.rate) for kind in (Padded, Trimmed))
        return next((one for one in less if self._is_exact(name, {name: one})), unit)

    def _refusal(self, name: str, why: str) -> NotChunkedError:
        """Why there are no units, by the first part that has none."""
        kind = type(self._parts[name]).__name__
        return self._problem or NotChunkedError(f"frames of {name or 'the decoder'} ({kind}) {why}")

    def _shortened(self, name: str) -> Tensor:
        """What a part gives without its last step; with it, where other arguments are as long."""
        seen = self._seen[name]
        shorter = seen.args[0][:, :, : -_step(seen.args[0])].clone()
        try:
            return video_of(self._parts[name](shorter, *seen.args[1:], **seen.kwargs))
        except RuntimeError:
            return seen.output

    def _is_exact(self, name: str, units: Plan) -> bool:
        """Whether a part gives the whole, chunk by chunk, under these units."""
        seen, part = self._seen[name], self._parts[name]
        inner = {key.removeprefix(name).lstrip("."): unit for key, unit in units.items()}
        chunked, video = Chunked(part, inner), Video()

        def give(chunk: Tensor) -> Tensor:
            # A copy: the part may write into what it is given.
            return video_of(chunked.pass_of(video, chunk.clone(), *seen.args[1:], **seen.kwargs))

        try:
            made = torch.cat(list(outputs(video, _chunks(seen.args[0]), give)), dim=2)
        except RuntimeError:  # Chunks may not fit the other arguments.
            return False
        finally:
            chunked.remove()
        return made.shape == seen.output.shape and not _differ(made, seen.output)


def _watched(parts: Mapping[str, nn.Module], given: Sequence[Tensor]) -> dict[str, Seen]:
    """What one run shows of each part that takes and gives videos."""
    watches = {name: _Watch(part) for name, part in parts.items()}
    parts[""](*given)
    for watch in watches.values():
        watch.stop()
    return {name: watch.seen for name, watch in watches.items() if watch.seen is not None}


class _Watch:
    """See the first call of a part, if it takes and gives a video."""

    def __init__(self, part: nn.Module) -> None:
        self.seen: Seen | None = None
        self._given: list[tuple[Any, ...]] = []
        before = part.register_forward_pre_hook(self._before, with_kwargs=True)
        after = part.register_forward_hook(self._after, with_kwargs=True)
        self._hooks = [before, after]

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _before(self, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del part, kwargs
        # Copies: the part may write into what it is given.
        self._given.append(tuple(one.clone() if isinstance(one, Tensor) else one for one in args))

    def _after(self, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        del part, args
        given, video = self._given.pop(), output[0] if isinstance(output, tuple) else output
        if self.seen is None and given and is_video(given[0]) and is_video(video):
            self.seen = Seen(given, kwargs, video.clone())


def _chunks(video: Tensor) -> tuple[Tensor, ...]:
    """Chunks of a video as those of 1, 1, 2, 4 and 1 latent frames; the first one may have made fewer."""
    step = _step(video)
    first = video.shape[2] - (FRAMES - 1) * step
    return torch.split(video, [first, step, 2 * step, 4 * step, step], dim=2)


def _step(video: Tensor) -> int:
    """How many frames of a video belong to one latent frame, but for the first one."""
    return max(1, (video.shape[2] - 1) // (FRAMES - 1))


def _changed(short: Tensor, whole: Tensor) -> int:
    """How many of the last frames of a shorter video are not those of the whole one."""
    errors = (short - whole[:, :, : short.shape[2]]).abs().amax(dim=(0, 1, 3, 4))
    same = errors <= TOLERANCE * whole.abs().max()
    return int((~same.cumprod(0).bool()).sum())


def _differ(made: Tensor, wanted: Tensor) -> bool:
    return float((made - wanted).abs().max()) > TOLERANCE * float(wanted.abs().max())
