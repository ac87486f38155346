"""All proving models by name."""

from clips import LTX, CogVideoX, WanExperts
from kind import Kind
from stills import SD3, Flux, FluxDistilled, PixArt, SD3FewSteps, UNetEpsilon

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        UNetEpsilon(),
        PixArt(),
        SD3(),
        SD3FewSteps(),
        Flux(),
        FluxDistilled(),
        CogVideoX(),
        LTX(),
        WanExperts(),
    )
}
