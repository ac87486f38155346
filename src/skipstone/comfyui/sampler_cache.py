"""The attachment of a method to a model in ComfyUI."""

import functools
from collections.abc import Mapping
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import RunFacts
from skipstone.cachers.planned import Unplanned
from skipstone.comfyui.contract import (
    DIFFUSION_MODEL,
    KEY,
    OUTER_SAMPLE,
    PREDICT_NOISE,
    Executor,
    Sampling,
)
from skipstone.comfyui.remembered import Remembered
from skipstone.comfyui.run import Call, MethodFor, SamplerRun
from skipstone.comfyui.told import told
from skipstone.pipelines.model.compiled import uncompiled

CHOOSES_STEPS = ("adaptive", "dpm_fast")
"""In the names of samplers that choose their own steps."""

ADDS_NOISE = ("ancestral", "sde", "lcm", "ddpm", "seeds", "sa_solver")
"""In the names of samplers that add new noise on their steps."""


class SamplerCache:
    """Skip evaluations of one model, and remember what the last runs did.

    Nothing of a run is held after it. A model may be cloned, patched, unloaded and sampled with by others:
    what is known of a run belongs to it alone.

    ``remembered`` has the last runs.

    Args:
        method_for: chooses the method of each run.
    """

    def __init__(self, method_for: MethodFor) -> None:
        self._method_for = method_for
        self._begin, self._finish = uncompiled(self._begun), uncompiled(self._finished)
        self._run: SamplerRun | None = None
        self.remembered = Remembered()

    def attach(self, patcher: Any) -> None:
        """Let a model's runs go through this; another cache of skipstone on it is replaced."""
        # Bound afterwards: torch 2.6 cannot mark a bound method.
        call = functools.partial(uncompiled(SamplerCache._call, recursive=False), self)
        kinds = {OUTER_SAMPLE: self._sample, PREDICT_NOISE: self._predict, DIFFUSION_MODEL: call}
        for kind, wrapper in kinds.items():
            patcher.remove_wrappers_with_key(kind, KEY)
            patcher.add_wrapper_with_key(kind, KEY, wrapper)
        patcher.set_attachments(KEY, self)

    def _sample(
        self,
        executor: Executor,
        noise: Any,
        latent_image: Any,
        sampler: Any,
        sigmas: Any,
        denoise_mask: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        given = noise, latent_image, sampler, sigmas, denoise_mask
        levels = tuple(sigmas.tolist())
        if len(levels) < 2:
            return executor(*given, *args, **kwargs)
        sampling = Sampling(executor.class_obj, sampler, levels, noise, denoise_mask is not None)
        outer, run = self._run, SamplerRun(sampling, self._chosen)
        self._run = run
        try:
            made = executor(*given, *args, **kwargs)
            run.end()
        finally:
            self._run = outer
            self._note(run)
            self.remembered.add(told(run))
        return made

    def _predict(self, executor: Executor, *args: Any, **kwargs: Any) -> Any:
        run = self._run
        return executor(*args, **kwargs) if run is None else run.predict(executor, *args, **kwargs)

    def _call(self, executor: Executor, *args: Any, **kwargs: Any) -> Any:
        """What the model gives. A compiled forward comes here, and what it computes stays compiled."""
        call = self._begin(args, kwargs)
        if call is None:
            return executor(*args, **kwargs)
        output = executor(*call.args, **call.kwargs) if call.reason is not None else call.output
        self._finish(call, output)
        return output

    def _begun(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        return None if self._run is None else self._run.begin(args, kwargs)

    def _finished(self, call: Call, output: Any) -> None:
        assert self._run is not None
        self._run.finish(call, output)

    def _chosen(self, run: RunFacts) -> Cacher[Any]:
        """The method of a run; one that cannot be planned computes everything."""
        assert isinstance(run.key, SamplerRun)
        sampling = run.key.sampling
        if any(word in sampling.sampler_name for word in CHOOSES_STEPS):
            return Unplanned("the sampler chooses its own steps: take one with fixed steps")
        if sampling.other_caches:
            return Unplanned(f"{sampling.other_caches[0]} is on this model too: remove one of the two")
        if sampling.is_hooked:
            return Unplanned("hooks of its conditions change the model: take LoRA nodes without hooks")
        return self._method_for(run)

    def _note(self, run: SamplerRun) -> None:
        """What the figures of a run do not show."""
        sampling = run.sampling
        if _adds_noise(sampling):
            run.log.note(
                f"the sampler ({sampling.sampler_name}) adds new noise on its steps, so no two runs are "
                "alike: expect a lower quality, or take a sampler without noise"
            )


def _adds_noise(sampling: Sampling) -> bool:
    """Whether a sampler adds new noise on its steps; ``eta`` or ``s_noise`` of zero leave it out."""
    options = sampling.sampler_options
    is_off = 0 in (options.get("eta"), options.get("s_noise"))
    return not is_off and any(word in sampling.sampler_name for word in ADDS_NOISE)
