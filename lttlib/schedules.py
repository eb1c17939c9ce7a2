"""How much to prune, and when: sparsity as a function of the round or the step."""

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
