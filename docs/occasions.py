"""When to use which method: what no docstring says, for `methods.py`."""

OCCASIONS = {
    "adacache": "where prompts differ much in motion, as in videos: each gets as many steps as its attention asks for.",
    "block-caching": "for many runs of one model, scheduler and number of steps, measured once; with the trained "
    "adjustment where no other method is good enough.",
    "dbcache": "where First Block errs: more blocks see more of the change, and last blocks mend the estimate, for the "
    "price of running on every step.",
    "deepcache": "on UNets; it needs skip connections.",
    "delta-dit": "with few steps, of which none may be left out: each still runs a part of the blocks.",
    "dicache": "where a gate shall know nothing of the model beforehand, and two residuals are better than one.",
    "easycache": "on any model, also where blocks cannot be looked into: it sees only what goes in and comes out.",
    "fastercache": "with guidance in two branches, of which it saves one on most steps; on models with distilled "
    "guidance little is left of it.",
    "first-block": "on a transformer that nothing is known of: one threshold, and nothing to measure.",
    "fora": "as the simplest there is: the speed is known beforehand, and it is the base for predictors.",
    "magcache": "on models with published ratios, or after one calibrating run: all decisions are known before the run.",
    "pab": "on video models with attention of several kinds, where no step may be left out.",
    "planned": "where one run can be recorded: the speed is known beforehand, and steps and weights are the best for it.",
    "seacache": "on any model, where high frequencies of the latents mislead other gates.",
    "smoothcache": "for many runs of one model, scheduler and number of steps, where layers of one kind change alike.",
    "teacache": "on the models that it was fitted to; elsewhere fit it first, or take the change as it is.",
    "tgate": "on models with cross attention to the text.",
    "adams-bashforth": "as Taylor, with the order counted in residuals.",
    "foca": "where Taylor of order 1 overshoots.",
    "freqca": "where fine detail changes faster than the outline.",
    "hermite": "where Taylor overshoots: the scale damps it.",
    "reuse": "where computed steps lie far apart: what is extrapolated far is worse than what is repeated.",
    "spectrum": "with many computed steps and memory to hold them all.",
    "taylor": "where computed steps lie close.",
}
