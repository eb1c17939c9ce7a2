"""How much to prune or to replace, and when: shares as a function of the round or the step."""

import math

from lttlib.arguments import require, require_sparsity


def geometric_sparsities(sparsity: float, rounds: int) -> list[float]:
    """Sparsity after each of `rounds` rounds that remove the same share of what is left, ending at `sparsity`.

    0.75 in two rounds: [0.5, 0.75], each round halves the rest. Used by Frankle & Carbin, arXiv:1803.03635.
    """
    require_sparsity(sparsity)
    require(rounds >= 1, "rounds", rounds, "1 or more", "one round is one-shot pruning")
    return [1 - (1 - sparsity) ** (r / rounds) for r in range(1, rounds + 1)]


def cubic_sparsity(step: int, *, start: int, end: int, final: float, initial: float = 0.0) -> float:
    """Gradual pruning of Zhu & Gupta 2018 (arXiv:1710.01878): final + (initial - final) * (1 - progress)^3.

    Progress runs from 0 at step `start` to 1 at step `end`: quick cuts while weights are plenty, small ones at the end.
    """
    require_sparsity(initial, "initial")
    require_sparsity(final, "final")
    require(start < end, "start", start, f"less than end = {end}", "pruning needs at least one step")
    progress = min(max((step - start) / (end - start), 0.0), 1.0)
    return final + (initial - final) * (1 - progress) ** 3


def rigl_drop_fraction(step: int, *, alpha: float = 0.3, end: int) -> float:
    """Share of the live weights that RigL replaces at `step`: alpha / 2 * (1 + cos(pi * step / end)), 0 from `end` on.

    Starts at alpha and falls smoothly: big moves while the weights are young. Evci et al. 2020, arXiv:1911.11134, call
    the last step T_end; alpha = 0.3 is theirs.
    """
    _require_share(alpha, "alpha")
    return cosine(step, first=alpha, last=0.0, end=end)


def itop_drop_fraction(step: int, *, initial: float = 0.5, final: float = 0.005, end: int) -> float:
    """Share of the live weights replaced at `step` in ITOP: the same cosine, from `initial` down to `final` at `end`.

    Liu et al. 2021, arXiv:2102.02887; their code calls it the death rate and lets `end` be the last step of training,
    so that exploration never stops.
    """
    _require_share(initial, "initial")
    _require_share(final, "final")
    return cosine(step, first=initial, last=final, end=end)


def cosine(step: int, *, first: float = 1.0, last: float = 0.0, end: int) -> float:
    """Half a period of a cosine from `first` at step 0 to `last` at `end`; flat before and after.

    As it stands a factor on the learning rate; Loshchilov & Hutter 2017, arXiv:1608.03983.
    """
    require(end >= 1, "end", end, "1 or more", "it is the step after which nothing moves")
    progress = min(max(step / end, 0.0), 1.0)
    return last + (first - last) / 2 * (1 + math.cos(math.pi * progress))


def _require_share(value: float, name: str) -> None:
    require(0 <= value <= 1, name, value, "a number in [0, 1]", "it is a share of the live weights")
