"""A stand-in for the part of ComfyUI that nodes see, written from a description of its contract.

A patcher holds a model, its patches, its options and its wrappers. A guider samples: it hands out wrapped
calls of the run, of each prediction for all conditions, and of the model for the conditions of one batch.
"""

import copy
import itertools
import uuid
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Copy = namedtuple("Copy", "weight inplace_update")

Conds = list[dict[str, Any]]


class InterruptedByUserError(Exception):
    """The user asked to stop."""


class Executor:
    """Calls the next wrapper, or the wrapped function after the last one."""

    def __init__(self, function: Any, class_obj: Any, wrappers: Sequence[Any], place: int = 0) -> None:
        self.function, self.class_obj, self.wrappers, self.place = function, class_obj, wrappers, place

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        if self.place == len(self.wrappers):
            return self.function(*args, **kwargs)
        return self.wrappers[self.place](self, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Executor(self.function, self.class_obj, self.wrappers, self.place + 1).execute(*args, **kwargs)


def wrapped(function: Any, owner: Any, kind: str, transformer_options: dict[str, Any]) -> Executor:
    """A function inside all wrappers of a kind."""
    by_key = transformer_options.get("wrappers", {}).get(kind, {})
    return Executor(function, owner, [one for several in by_key.values() for one in several])


class Patcher:
    """A model with patches, options and wrappers; clones share the model."""

    def __init__(self, model: "BaseModel") -> None:
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.patches: dict[str, list[Any]] = {}
        self.wrappers: dict[str, dict[str, list[Any]]] = {}
        self.attachments: dict[str, Any] = {}
        self.backup: dict[str, Any] = {}

    def clone(self) -> "Patcher":
        made = Patcher(self.model)
        made.model_options = copy.deepcopy(self.model_options)
        made.patches = {key: list(several) for key, several in self.patches.items()}
        made.wrappers = {
            kind: {key: list(several) for key, several in keys.items()}
            for kind, keys in self.wrappers.items()
        }
        made.attachments = dict(self.attachments)
        made.backup = self.backup
        return made

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        self.wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, kind: str, key: str) -> None:
        self.wrappers.get(kind, {}).pop(key, None)

    def set_attachments(self, key: str, attachment: Any) -> None:
        self.attachments[key] = attachment

    def get_attachment(self, key: str) -> Any:
        return self.attachments.get(key)

    def get_model_object(self, name: str) -> Any:
        return getattr(self.model, name)

    def with_adapter(self, strength: float, seed: int = 0) -> "Patcher":
        """A clone with an adapter on one weight."""
        made, key = self.clone(), "diffusion_model.head.weight"
        shape = self.model.diffusion_model.head.weight.shape
        change = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        made.patches.setdefault(key, []).append((strength, (change,), 1.0, None, None))
        return made

    def load(self) -> None:
        """Merge the patches into the weights, and keep what was there."""
        self.unload()
        weights = dict(self.model.named_parameters())
        for key, several in self.patches.items():
            self.backup[key] = Copy(weights[key].detach().clone(), True)
            for strength, (change,), *_ in several:
                weights[key].data += strength * change

    def unload(self) -> None:
        """Restore the weights."""
        weights = dict(self.model.named_parameters())
        for key, kept in self.backup.items():
            weights[key].data.copy_(kept.weight)
        self.backup.clear()


class BaseModel(nn.Module):
    """A diffusion model, and how its output becomes a clean sample."""

    def __init__(self, diffusion_model: nn.Module, model_sampling: Any) -> None:
        super().__init__()
        self.diffusion_model = diffusion_model
        self.model_sampling = model_sampling

    def apply_model(
        self, x: Tensor, sigma: Tensor, transformer_options: dict[str, Any], control: Any = None, **conds: Any
    ) -> Tensor:
        given = self.model_sampling.calculate_input(sigma, x)
        time = self.model_sampling.timestep(sigma)
        made = self.diffusion_model(
            given, time, control=control, transformer_options=transformer_options, **conds
        )
        return self.model_sampling.calculate_denoised(sigma, made, x)


class WrappedModel(nn.Module):
    """A model whose forward goes through the wrappers of its kind; others say what `_forward` does."""

    calls = 0
    """How many calls were computed."""

    def forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Any:
        options = kwargs["transformer_options"]
        return wrapped(self._counted, self, "diffusion_model", options).execute(x, time, **kwargs)

    def _counted(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self._forward(*args, **kwargs)

    def _forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Any:
        raise NotImplementedError


def condition(area: tuple[int, ...] | None = None, control: Any = None, **model_conds: Any) -> dict[str, Any]:
    """A condition as nodes hand it on: an area is ``(height, width, top, left)``."""
    extra = {"area": area, "control": control}
    return {"model_conds": model_conds, **{name: value for name, value in extra.items() if value is not None}}


class Guider:
    """Samples with classifier-free guidance; a scale of 1 leaves the negative conditions out."""

    def __init__(self, patcher: Patcher, positive: Conds, negative: Conds | None, cfg: float = 1.0) -> None:
        self.model_patcher = patcher
        self.model_options = patcher.model_options
        self.cfg = cfg
        self.most_at_once = 8
        self._given = {"positive": positive, "negative": negative}
        self.conds: dict[str, Conds | None] = {}

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> Tensor:
        executor = wrapped(
            self.predict_noise, self, "predict_noise", self.model_options["transformer_options"]
        )
        made = executor.execute(x, sigma, model_options, seed)
        assert isinstance(made, Tensor)
        return made

    def sample(
        self,
        noise: Tensor,
        sampler: "Sampler",
        sigmas: Tensor,
        latent: Tensor | None = None,
        mask: Any = None,
        callback: Callable[[int], None] | None = None,
    ) -> Tensor:
        self.conds = {
            name: None if several is None else [{**one, "uuid": uuid.uuid4()} for one in several]
            for name, several in self._given.items()
        }
        before, self.model_options = self.model_options, copy.deepcopy(self.model_options)
        self.model_options["transformer_options"]["wrappers"] = self.model_patcher.clone().wrappers
        try:
            executor = wrapped(self._sample, self, "outer_sample", self.model_options["transformer_options"])
            # Nodes run in inference mode: so does what wrappers do before and after the sampler.
            with torch.inference_mode():
                made = executor.execute(noise, latent, sampler, sigmas, mask, callback, True, 0)
        finally:
            self.model_options = before
        del self.conds
        assert isinstance(made, Tensor)
        return made

    def _sample(
        self, noise: Tensor, latent: Tensor | None, sampler: "Sampler", sigmas: Tensor, mask: Tensor | None,
        callback: Callable[[int], None] | None, quiet: bool, seed: int,
    ) -> Tensor:  # fmt: skip
        self.model_patcher.load()
        self._give_areas_an_opposite()
        options = copy.copy(self.model_options)
        options["transformer_options"] = {**options["transformer_options"], "sample_sigmas": sigmas}
        clean = torch.zeros_like(noise) if latent is None else latent
        levels = self.model_patcher.model.model_sampling
        noisy = levels.noise_scaling(sigmas[0], noise, clean, bool(sigmas[0] >= levels.sigma_max))

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            if mask is None:
                return self(x, sigma, options, seed)
            around = self.model_patcher.model.model_sampling.noise_scaling(sigma[0], noise, clean)
            inside = self(x * mask + around * (1 - mask), sigma, options, seed)
            return inside * mask + clean * (1 - mask)

        tell = callback or (lambda step: None)
        return sampler.sampler_function(denoise, noisy, sigmas, tell, **sampler.extra_options)

    def _give_areas_an_opposite(self) -> None:
        """Copies of a condition with an area carry the other list's prompt under the same id."""
        lists = [several for several in self.conds.values() if several is not None]
        for several, others in itertools.permutations(lists, 2):
            for one in [one for one in several if "area" in one]:
                if all(other.get("area") != one["area"] for other in others):
                    others.append({**one, "model_conds": others[0]["model_conds"]})

    def predict_noise(
        self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> Tensor:
        positive, negative = self.conds["positive"], self.conds["negative"]
        both = [positive, None if self.cfg == 1 else negative]
        cond, uncond = self._predictions(both, x, sigma, model_options)
        combine = model_options.get("sampler_cfg_function")
        if combine is not None:
            made = combine(cond, uncond, self.cfg)
        else:
            made = cond if uncond is None else uncond + (cond - uncond) * self.cfg
        for after in model_options.get("sampler_post_cfg_function", []):
            made = after(self, made, x, sigma, model_options)
        assert isinstance(made, Tensor)
        return made

    def _predictions(
        self, conds: Sequence[Conds | None], x: Tensor, sigma: Tensor, options: dict[str, Any]
    ) -> list[Any]:
        windows = options.get("context_handler")
        if windows is None:
            return self.predictions(conds, x, sigma, options)
        return windows.execute(self.predictions, conds, x, sigma, options)

    def predictions(
        self, conds: Sequence[Conds | None], x: Tensor, sigma: Tensor, options: dict[str, Any]
    ) -> list[Any]:
        """Clean samples for each list of conditions, as many in one batch as allowed."""
        sums = [torch.zeros_like(x) for _ in conds]
        counts = [torch.full_like(x, 1e-37) for _ in conds]
        waiting = [
            (kind, one)
            for kind, several in enumerate(conds)
            for one in several or ()
            if _is_active(one, sigma)
        ]
        while waiting:
            batch = self._alike(waiting)[::-1]
            waiting = [one for one in waiting if not any(one is other for other in batch)]
            for (kind, one), part in zip(batch, self._apply(batch, x, sigma, options), strict=True):
                _area(sums[kind], one).add_(part)
                _area(counts[kind], one).add_(1)
        made = [total / count for total, count in zip(sums, counts, strict=True)]
        return [None if several is None else one for one, several in zip(made, conds, strict=True)]

    def _alike(self, waiting: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
        first = waiting[0][1]
        size = first.get("area", (0, 0))[:2]
        alike = [
            one for one in waiting
            if one[1].get("area", (0, 0))[:2] == size and one[1].get("control") is first.get("control")
        ]  # fmt: skip
        return alike[: self.most_at_once]

    def _apply(
        self, batch: list[tuple[int, dict[str, Any]]], x: Tensor, sigma: Tensor, options: dict[str, Any]
    ) -> Iterator[Tensor]:
        parts = [_area(x, one) for _, one in batch]
        given, count = torch.cat(parts), len(batch)
        each = [one["model_conds"] for _, one in batch]
        conds = {name: torch.cat([_repeated(one[name], len(x)) for one in each]) for name in each[0]}
        told = {
            **options["transformer_options"],
            "cond_or_uncond": [kind for kind, _ in batch],
            "uuids": [one["uuid"] for _, one in batch],
            "sigmas": sigma,
        }
        times, control = sigma.repeat(count), batch[0][1].get("control")
        if control is not None:
            conds["control"] = control.get_control(given, times, conds, count, told)
        made = self.model_patcher.model.apply_model(given, times, transformer_options=told, **conds)
        return iter(made.chunk(count))


def _is_active(one: dict[str, Any], sigma: Tensor) -> bool:
    return float(one.get("timestep_start", 1e9)) >= float(sigma[0]) >= float(one.get("timestep_end", 0.0))


def _repeated(value: Tensor, count: int) -> Tensor:
    return value.expand(count, *value.shape[1:])


def _area(x: Tensor, one: dict[str, Any]) -> Tensor:
    """The part of a picture that a condition is for."""
    if "area" not in one:
        return x
    height, width, top, left = one["area"]
    return x[..., top : top + height, left : left + width]


class ControlNet:
    """Gives something to add to the model's middle, and counts its calls."""

    calls = 0

    def get_control(self, x: Tensor, time: Tensor, conds: Any, count: int, transformer_options: Any) -> Any:
        self.calls += 1
        return {"middle": [0.3 * x.mean(1, keepdim=True)]}


class Window:
    """Some frames of a clip."""

    def __init__(self, index_list: list[int], dim: int) -> None:
        self.index_list, self.dim = index_list, dim


@dataclass(frozen=True)
class WindowSchedule:
    """Where the first window begins: at each offset in turn, one a prediction."""

    name: str
    offsets: Sequence[int]


STATIC = WindowSchedule("static", (0,))
MOVING = WindowSchedule("moving", range(7))
RESTING = WindowSchedule("resting", (0, 0, 0, 0, 0, 0, 0, 0, 3))


class Windows:
    """Predicts a clip in overlapping windows, laid by a schedule."""

    def __init__(self, length: int, schedule: WindowSchedule = STATIC, dim: int = 2) -> None:
        self.context_length, self.context_schedule, self.dim = length, schedule, dim
        self._count = 0

    def execute(
        self,
        predictions: Any,
        conds: Sequence[Conds | None],
        x: Tensor,
        sigma: Tensor,
        options: dict[str, Any],
    ) -> list[Any]:
        sums, counts = [torch.zeros_like(x) for _ in conds], torch.zeros_like(x)
        offsets = self.context_schedule.offsets
        offset = offsets[self._count % len(offsets)]
        self._count += 1
        frames = x.shape[self.dim]
        for first in range(0, frames - 1, self.context_length - 1):
            places = [(offset + first + n) % frames for n in range(self.context_length)]
            options["transformer_options"]["context_window"] = Window(places, self.dim)
            at = (slice(None),) * self.dim + (places,)
            for total, part in zip(sums, predictions(conds, x[at], sigma, options), strict=True):
                if part is not None:
                    total[at] += part
            counts[at] += 1
        return [
            None if several is None else total / counts for total, several in zip(sums, conds, strict=True)
        ]


class Sampler:
    """A sampler's function and its options."""

    def __init__(self, sampler_function: Callable[..., Tensor], **extra_options: Any) -> None:
        self.sampler_function, self.extra_options = sampler_function, extra_options
