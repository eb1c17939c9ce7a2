"""Check of the exercise on what a router learns from one token: the gradient by its logits.

    dL/dg_e = slope_e for the k chosen experts S;  g = softmax(z) over all experts ("before"), or over S alone ("after")
    dL/dz_j = p_j ([j in S] slope_j - sum over S of p_e slope_e)           for all j          ("before", p = softmax(z))
    dL/dz_j = g_j (slope_j - sum over S of g_e slope_e)                    for j in S, else 0 ("after")

Shazeer et al. 2017, arXiv:1701.06538, takes it after; Riquelme et al. 2021, arXiv:2106.05974, before.
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, numbers, returns, same
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only


def _gradient_cases(rng):
    """(logits, slopes, k, softmax): three experts by hand, one choice, two, all; both orders; logits around 1000."""

    def drawn(experts, k, around=0.0):
        logits = rng.permutation(96)[:experts] / 16 - 3 + around  # exact in float32, too
        return logits, rng.normal(size=experts).round(2), k

    by_hand = np.log([0.5, 0.3, 0.2]), [2.0, -1.0, 4.0], 2
    cases = [by_hand, (np.log([0.2, 0.7, 0.1]), [2.0, -1.0, 4.0], 1), drawn(4, 2), drawn(3, 3), drawn(5, 3)]
    apart = [0.5, 999.0, 1000.0, -1000.0, 2.0], [1.5, 2.0, -0.5, 0.25, -1.0], 2  # no shift but by the largest helps
    cases += [drawn(4, 2, around=1000.0), apart, drawn(16, 2), drawn(64, 8)]
    both = [(logits, slopes, k, softmax) for logits, slopes, k in cases for softmax in ("before", "after")]
    return [(read_only(logits), read_only(slopes), k, softmax) for logits, slopes, k, softmax in both]


def _softmax(z):
    powers = np.exp(z - z.max())
    return powers / powers.sum()


def _best(logits, k):
    """(E,) bool: who is chosen."""
    best = np.zeros(len(logits), dtype=bool)
    best[np.argsort(-np.asarray(logits), kind="stable")[:k]] = True
    return best


def _gates(logits, k, softmax):
    """(E,): gates of the chosen and, where softmax comes before, the probabilities of the others; else 0."""
    if softmax == "before":
        return _softmax(logits)
    return np.where(_best(logits, k), _softmax(np.where(_best(logits, k), logits, -np.inf)), 0)


def _gradient(logits, slopes, k, softmax):
    """Through the Jacobian of the softmax, diag(g) - g g^T."""
    gates = _gates(logits, k, softmax)
    return (np.diag(gates) - np.outer(gates, gates)) @ np.where(_best(logits, k), slopes, 0)


def _reference(logits, slopes, k, softmax):
    return _gradient(np.asarray(logits), np.asarray(slopes), k, softmax)


def _parts(combine, only=None):
    """combine(gates, slopes, who is chosen); only: for "before" or "after" alone, right for the other."""

    def answer(logits, slopes, k, softmax):
        logits, slopes = np.asarray(logits), np.asarray(slopes)
        if only not in (None, softmax):
            return _gradient(logits, slopes, k, softmax)
        return combine(_gates(logits, k, softmax), slopes, _best(logits, k))

    return answer


def _always(softmax):
    return lambda logits, slopes, k, _: _reference(logits, slopes, k, softmax)


def _relation(case, found, place):
    logits, slopes, k, softmax = case
    (expert,) = place
    asked = f"For logits = {numbers(logits)}, slopes = {numbers(slopes)}, k = {k} and softmax = {softmax!r} "
    if not np.isfinite(found).all():
        return (
            f"{asked}you return numbers that are not finite. Which power of e is too large for a float, and does a "
            "softmax change if all logits fall by the same amount?"
        )
    chosen = _best(logits, k)
    if softmax == "after" and (found[~chosen] != 0).any():
        return f"{asked}an expert that is not chosen gets a gradient. Does its logit enter any gate?"
    if abs(found.sum()) > 1e-6 * max(np.abs(found).max(), np.abs(slopes).max()):
        return (
            f"{asked}your gradient adds up to {numbers(float(found.sum()))}. If all logits rise by the same amount, "
            "by how much do the gates "
            "change, and the loss?"
        )
    return (
        f"{asked}you return {numbers(float(found[expert]) + 0.0)} for expert {expert}, counted from zero. Which gates move"
        " if its logit rises a "
        "little, in which direction, and what does each of them do to the loss?"
    )


def _overflows(tried):
    """Right where the logits are small; elsewhere not finite, or the error of math.exp."""

    def seen(case, value):
        if case[0].max() < 100:
            return not isinstance(value, Exception) and same(value, np.array(_reference(*case)))
        return isinstance(value, OverflowError) or not np.isfinite(np.asarray(value, dtype=float)).all()

    return all(seen(case, value) for case, value in tried)


_ALL_SLOPES = (
    "Slopes of experts that are not chosen count here. Nobody has computed these experts: which gates does the loss "
    "see?"
)
_OWN_GATE = (
    "Each logit moves its own gate only here. What happens to the other gates of a softmax if one of them rises?"
)
_OPEN = (
    "A gate grows in proportion here, and no other falls. What do the gates of a softmax add up to, before a logit "
    "rises and after?"
)

check_router_gradient = Exercise(
    "router_gradient",
    _gradient_cases,
    array_equals(_reference, _relation),
    "three experts to 64, one choice, two, all, the softmax before the selection and after it, logits around 0 and "
    "around 1000",
    (
        WRITTEN,
        returns(
            _parts(lambda g, a, chosen: np.where(chosen, g * (a - (g * a)[chosen].sum()), 0), only="before"),
            "With the softmax before the selection, only chosen logits have a gradient here. Does the logit of "
            "another expert enter the gates, "
            "through the sum that the softmax divides by?",
        ),
        returns(_always("after"), "You take the softmax after the selection always. What if it comes before?"),
        returns(_always("before"), "You take the softmax before the selection always. What if it comes after?"),
        returns(
            lambda logits, slopes, k, softmax: _reference(
                logits, slopes, k, {"before": "after", "after": "before"}[softmax]
            ),
            "You have the two orders swapped. Over which experts does the softmax run if it comes before the "
            "selection?",
        ),
        returns(_parts(lambda g, a, chosen: g * (a - g @ a)), _ALL_SLOPES),
        returns(
            lambda logits, slopes, k, softmax: _reference(logits, slopes, len(logits), softmax),
            "Your answer is that of a layer which uses every expert. Which k of them answer?",
        ),
        returns(_parts(lambda g, a, chosen: g * a * chosen), _OPEN),
        returns(_parts(lambda g, a, chosen: g * (1 - g) * a * chosen), _OWN_GATE),
        returns(
            _parts(lambda g, a, chosen: -g * ((g * a)[chosen].sum() - g * a * chosen)),
            "Each logit moves only the gates of others here. What does it do to its own?",
        ),
        returns(
            _parts(lambda g, a, chosen: a * chosen),
            "These are the slopes by the gates. How does a gate change with the logits?",
        ),
        returns(
            _parts(lambda g, a, chosen: g * chosen),
            "These are the gates. How does the loss change with them, and they with the logits?",
        ),
        returns(
            lambda logits, slopes, k, softmax: (
                _reference(logits, slopes, k, "before") / _softmax(logits)[_best(logits, k)].sum()
                if softmax == "after"
                else _reference(logits, slopes, k, softmax)
            ),
            "With the softmax after the selection, you divide by the sum of the chosen probabilities as if it were a"
            " constant. What does the "
            "sum do if a logit rises?",
        ),
        returns(
            _parts(lambda g, a, chosen: g * (np.where(chosen, a, 0) - a[chosen].mean())),
            "You subtract the plain mean of the slopes. Which weights has the mean in the derivative of a softmax?",
        ),
        returns(
            lambda *case: -_reference(*case),
            "You return the direction in which the loss falls. In which direction does a gradient point?",
        ),
        returns(
            lambda logits, slopes, k, softmax: float((_gates(logits, k, softmax) * slopes)[_best(logits, k)].sum()),
            "This is one number: the gates times the slopes. The task asks for one for each logit: how does this "
            "number change with them?",
        ),
        Mistake(
            "Right but where logits are large: not finite numbers, or none at all. Which power of e is too large for"
            " a float, and does a softmax change if "
            "all logits fall by the same amount?",
            _overflows,
        ),
    ),
)
