"""The nodes that ComfyUI shows."""

import logging
from functools import partial
from typing import Any, ClassVar

from skipstone.cachers.contract.words import ModelFacts, RunFacts
from skipstone.cachers.planned import Planned
from skipstone.comfyui.contract import DIFFUSION_MODEL, KEY
from skipstone.comfyui.made_for import PROGRAM, made_for, model_of
from skipstone.comfyui.plan_files import find_plan, fingerprint, keep_plan
from skipstone.comfyui.remembered import Telling
from skipstone.comfyui.run import MethodFor, SamplerRun
from skipstone.comfyui.sampler_cache import SamplerCache
from skipstone.pipelines.planning.autoplan import Autoplan

CATEGORY = "skipstone"
FASTEST = 10.0
"""No plan for more is worth looking at."""

Inputs = dict[str, dict[str, tuple[str, dict[str, Any]]]]


class PlanForSpeed:
    """Make sampling faster: the first run is recorded, later ones follow a plan made from the record."""

    CATEGORY = CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "attach"
    RETURN_TYPES: ClassVar = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        about = "How many times faster than computing every step. Each kind of run is recorded once."
        speedup = {"default": 2.0, "min": 1.0, "max": FASTEST, "step": 0.1, "tooltip": about}
        return {"required": {"model": ("MODEL", {}), "speedup": ("FLOAT", speedup)}}

    def attach(self, model: Any, speedup: float) -> tuple[Any]:
        """The model, whose runs are recorded or planned."""
        autoplan = Autoplan({DIFFUSION_MODEL: model_of(model)}, speedup, _describe)
        return _with_cache(model, partial(autoplan.method_for, _facts(model)))


class UsePlanFile:
    """Sample by a plan: one that "what happened" kept under a name, or the file of any plan."""

    CATEGORY = CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "attach"
    RETURN_TYPES: ClassVar = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        about = "The name that a plan was kept under, or the path of a plan's file."
        return {"required": {"model": ("MODEL", {}), "plan": ("STRING", {"default": "", "tooltip": about})}}

    @classmethod
    def IS_CHANGED(cls, model: Any, plan: str) -> str:  # noqa: N802
        """What ComfyUI asks for before it takes an earlier result of the node: the same for the same file."""
        return fingerprint(plan)

    def attach(self, model: Any, plan: str) -> tuple[Any]:
        """The model, whose runs follow the plan.

        Raises:
            ValueError: there is no such plan, or it is for another model.
        """
        found = find_plan(plan)
        planned = Planned(found, found.record.models[0])
        if found.record.made_for.get("pipeline") == PROGRAM:
            planned = planned.for_model(_facts(model))
        return _with_cache(model, planned.for_run)


class WhatHappened:
    """Tell what was computed and skipped, how long it took, and what quality to expect."""

    CATEGORY = CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "tell"
    RETURN_TYPES: ClassVar = ("STRING",)
    RETURN_NAMES: ClassVar = ("text",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        waits = {"tooltip": "What the sampler gives, so that this node runs after it."}
        keeps = {"default": "", "tooltip": "Keep the last run's plan under this name; empty to keep none."}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model that a skipstone node gives."}),
                "samples": ("LATENT", waits),
            },
            "optional": {"keep_plan_as": ("STRING", keeps)},
        }

    def tell(self, model: Any, samples: Any, keep_plan_as: str = "") -> dict[str, Any]:
        """The text, for the node and for others.

        Raises:
            ValueError: the model comes from no skipstone node, or the plan cannot be kept.
        """
        cache = model.get_attachment(KEY)
        if not isinstance(cache, SamplerCache):
            raise ValueError("connect the model that a skipstone node gives: this one has no plan")
        latents = samples.get("samples")
        telling = cache.remembered.tell(None if latents is None else tuple(latents.shape))
        said = telling.words
        if keep_plan_as:
            said += "\n" + _kept(telling, keep_plan_as)
        logging.getLogger(CATEGORY).info("%s", said)
        return {"ui": {"text": [said]}, "result": (said,)}


def _kept(telling: Telling, name: str) -> str:
    """Keep the plan that the latents were made with under a name; what became of it."""
    if not telling.plans:
        return "No plan was followed, so none was kept."
    if not telling.is_certain:
        return "Several plans were followed, so none was kept: sample once more with this one sampler alone."
    return f"Kept the plan in {str(keep_plan(telling.plans[-1], name))!r}."


def _with_cache(model: Any, method_for: MethodFor) -> tuple[Any]:
    clone = model.clone()
    SamplerCache(method_for).attach(clone)
    return (clone,)


def _facts(model: Any) -> ModelFacts:
    written = type(model_of(model)).__name__
    return ModelFacts(written, name=DIFFUSION_MODEL, siblings=(DIFFUSION_MODEL,))


def _describe(run: RunFacts) -> dict[str, Any]:
    assert isinstance(run.key, SamplerRun)
    return made_for(run.key.sampling, run)
