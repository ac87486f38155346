"""TeaCache's published polynomials, and the models that they were fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as shortened
from typing import Any, Literal

Indicator = Literal["modulated-input", "time-embedding", "time-projection"]


@dataclass(frozen=True)
class Polynomial:
    """Map the relative change of an indicator to the relative change of the model's output, clamped at zero.

    Source: TeaCache, arXiv:2411.19108, section 3.3; coefficients from the official code.
    Difference: the clamp. Outside their fitted range several of these polynomials are negative.

    Args:
        name: its name in `TeaCache.rescale` and in statistics.
        coefficients: the coefficients, highest power first.
        indicator: the probe that it was fitted for.
        model: the diffusers class that it applies to; empty if diffusers has none.
        config: configuration values that identify the variant of that class.
        threshold: the official code's slow setting (the careful one) for this set.
        first_steps: how many first steps the official code computes with this set.
        first_share: which share of the run's steps it computes at its beginning.
        last_steps: how many last steps it computes.
        retention: whether it is one of Wan's sets for the retention mode, which must be asked for.
    """

    name: str
    coefficients: tuple[float, ...]
    indicator: Indicator = "modulated-input"
    model: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.1
    first_steps: int = 1
    first_share: float = 0.0
    last_steps: int = 1
    retention: bool = False

    def __str__(self) -> str:
        return self.name

    def forced(self, index: int, count: int) -> bool:
        """Whether a step is computed because of its position in the run."""
        return (
            index < max(self.first_steps, int(self.first_share * count)) or index >= count - self.last_steps
        )

    def __call__(self, change: float) -> float:
        value = 0.0
        for coefficient in self.coefficients:
            value = value * change + coefficient
        # `max(value, 0.0)` keeps a NaN, and a NaN computes.
        return max(value, 0.0)

    def fits(self, model: str, config: Mapping[str, Any]) -> bool:
        return self.model == model and all(config.get(key) == value for key, value in self.config.items())


IDENTITY = Polynomial("none", (1.0, 0.0), threshold=0.05)

_COGVIDEOX = "CogVideoXTransformer3DModel"
_WAN = "WanTransformer3DModel"
_WAN_SMALL = {"num_layers": 30, "num_attention_heads": 12, "in_channels": 16}
_WAN_LARGE = {"num_layers": 40, "num_attention_heads": 40, "in_channels": 16}
_WAN_IMAGE = {"num_layers": 40, "num_attention_heads": 40, "in_channels": 36}


def _retention(
    name: str, coefficients: tuple[float, ...], config: Mapping[str, Any] | None, threshold: float
) -> Polynomial:
    """One of Wan's sets for the projected time embedding; it does not force the last step."""
    model = "" if config is None else _WAN
    return Polynomial(
        f"{name}-retention", coefficients, "time-projection", model, config or {}, threshold,
        first_steps=5, last_steps=0, retention=True,
    )  # fmt: skip


PUBLISHED: tuple[Polynomial, ...] = (
    Polynomial(
        "latte",
        (-2.46434137e03, 3.08044764e02, 8.07447667e01, -4.11385132e00, 1.11001402e-01),
        model="LatteTransformer3DModel",
        config={"num_layers": 28},
    ),
    Polynomial(
        "open-sora-1.2",
        (2.17546007e02, -1.18329252e02, 2.68662585e01, -4.59364272e-02, 4.84426240e-02),
    ),
    Polynomial(
        "open-sora-plan-1.1",
        (2.05943668e05, -1.48759286e04, 3.06085986e02, 1.31418080e00, 2.39658469e-03),
    ),
    Polynomial(
        "cogvideox-2b",
        (-3.10658903e01, 2.54732368e01, -5.92380459e00, 1.75769064e00, -3.61568434e-03),
        "time-embedding",
        _COGVIDEOX,
        {"num_layers": 30, "patch_size_t": None},
    ),
    Polynomial(
        "cogvideox-5b",
        (-1.53880483e03, 8.43202495e02, -1.34363087e02, 7.97131516e00, -5.23162339e-02),
        "time-embedding",
        _COGVIDEOX,
        {"num_layers": 42, "patch_size_t": None},
    ),
    Polynomial(
        "consisid",
        (-1.53880483e03, 8.43202495e02, -1.34363087e02, 7.97131516e00, -5.23162339e-02),
        "time-embedding",
        "ConsisIDTransformer3DModel",
        {"num_layers": 42},
    ),
    Polynomial(
        "cogvideox1.5-5b",
        (2.50210439e02, -1.65061612e02, 3.57804877e01, -7.81551492e-01, 3.58559703e-02),
        "time-embedding",
        _COGVIDEOX,
        {"num_layers": 42, "patch_size_t": 2, "in_channels": 16},
    ),
    Polynomial(
        "cogvideox1.5-5b-i2v",
        (1.22842302e02, -1.04088754e02, 2.62981677e01, -3.06009921e-01, 3.71213220e-02),
        "time-embedding",
        _COGVIDEOX,
        {"num_layers": 42, "patch_size_t": 2, "in_channels": 32},
    ),
    Polynomial(
        "hunyuan-video",
        (7.33226126e02, -4.01131952e02, 6.75869174e01, -3.14987800e00, 9.61237896e-02),
        model="HunyuanVideoTransformer3DModel",
        config={"num_layers": 20, "num_single_layers": 40},
    ),
    Polynomial(
        "flux",
        (4.98651651e02, -2.83781631e02, 5.58554382e01, -3.82021401e00, 2.64230861e-01),
        model="FluxTransformer2DModel",
        config={"num_layers": 19, "num_single_layers": 38},
        threshold=0.25,
    ),
    Polynomial(
        "ltx-video",
        (2.14700694e01, -1.28016453e01, 2.31279151e00, 7.92487521e-01, 9.69274326e-03),
        model="LTXVideoTransformer3DModel",
        config={"num_layers": 28},
        threshold=0.03,
    ),
    Polynomial(
        "mochi-1",
        (-3.51241319e03, 8.11675948e02, -6.09400215e01, 2.42429681e00, 3.05291719e-03),
        model="MochiTransformer3DModel",
        config={"num_layers": 48},
        threshold=0.06,
    ),
    Polynomial(
        "cosmos1-7b",
        (2.71156237e02, -9.19775607e01, 2.24437250e00, 2.08355751e00, 1.41776330e-01),
        model="CosmosTransformer3DModel",
        config={"num_layers": 28, "num_attention_heads": 32},
        threshold=0.3,
    ),
    Polynomial(
        "hidream-i1",
        (-3.13605009e04, -7.12425503e02, 4.91363285e01, 8.26515490e00, 1.08053901e-01),
        "time-embedding",
        "HiDreamImageTransformer2DModel",
        {"num_layers": 16, "num_single_layers": 32},
        threshold=0.17,
        first_share=0.1,
        last_steps=0,
    ),
    Polynomial(
        "lumina-next",
        (393.76566581, -603.50993606, 209.10239044, -23.00726601, 0.86377344),
        model="LuminaNextDiT2DModel",
        config={"num_layers": 24},
        threshold=0.2,
    ),
    Polynomial(
        "lumina2",
        (225.7042019806413, -608.8453716535591, 304.1869942338369, 124.21267720116742, -1.4089066892956552),
        model="Lumina2Transformer2DModel",
        config={"num_layers": 26},
        threshold=0.2,
    ),
    Polynomial(
        "wan2.1-t2v-1.3b",
        (2.39676752e03, -1.31110545e03, 2.01331979e02, -8.29855975e00, 1.37887774e-01),
        "time-embedding",
        _WAN,
        _WAN_SMALL,
        threshold=0.05,
    ),
    Polynomial(
        "wan2.1-t2v-14b",
        (-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404),
        "time-embedding",
        _WAN,
        _WAN_LARGE,
        threshold=0.14,
    ),
    Polynomial(
        "wan2.1-i2v-480p",
        (-3.02331670e02, 2.23948934e02, -5.25463970e01, 5.87348440e00, -2.01973289e-01),
        "time-embedding",
        _WAN,
        _WAN_IMAGE,
        threshold=0.13,
    ),
    Polynomial(
        "wan2.1-i2v-720p",
        (-114.36346466, 65.26524496, -18.82220707, 4.91518089, -0.23412683),
        "time-embedding",
        threshold=0.18,
    ),
    _retention(
        "wan2.1-t2v-1.3b",
        (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02),
        _WAN_SMALL,
        0.05,
    ),
    _retention(
        "wan2.1-t2v-14b",
        (-3.03318725e05, 4.90537029e04, -2.65530556e03, 5.87365115e01, -3.15583525e-01),
        _WAN_LARGE,
        0.1,
    ),
    _retention(
        "wan2.1-i2v-480p",
        (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
        _WAN_IMAGE,
        0.2,
    ),
    _retention(
        "wan2.1-i2v-720p",
        (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
        None,
        0.2,
    ),
)


def published(name: str) -> Polynomial:
    """Find a published set by name.

    Raises:
        ValueError: there is no such set.
    """
    for polynomial in (IDENTITY, *PUBLISHED):
        if polynomial.name == name:
            return polynomial
    known = ", ".join(p.name for p in PUBLISHED)
    raise ValueError(f"unknown rescale {shortened(name)}; use 'auto', 'retention', 'none' or one of: {known}")


def published_for(model: str, config: Mapping[str, Any], retention: bool = False) -> Polynomial:
    """The set that was fitted on this model, or the identity without one."""
    fitting = (p for p in PUBLISHED if p.retention == retention and p.fits(model, config))
    return next(fitting, IDENTITY)
