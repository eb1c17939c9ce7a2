"""Check of the exercise on the tangent kernel of a pruned network, between two inputs.

f(x) = sum over i of m_i a_i relu((m_i. * w_i) . x). Only survivors are differentiated, so

    Theta^m(x, x') = sum over i of m_i h_i h'_i  +  sum over i, j of m_ij delta_i delta'_i x_j x'_j

with h_i the activations and delta_i = m_i a_i relu' of the pruned network. Yang & Wang 2022, arXiv:2203.14328.
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, Tried, numbers, returns, same
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only


def _pruned_cases(rng):
    """(hidden, output, mask_hidden, mask_output, x, x2): by hand, dense, one layer whole, one layer gone, any densities."""
    hand = [[1.0, -1.0], [2.0, 1.0]], [1.0, -1.0]
    cases = [
        (*hand, [[1, 0], [1, 1]], [1, 0], [2.0, 1.0], [1.0, 3.0]),
        (*hand, [[1, 1], [1, 1]], [1, 1], [1.0, 0.5], [2.0, -1.0]),
    ]
    for units, inputs, of_hidden, of_output in (
        (5, 3, 0.6, 1.0),
        (5, 4, 1.0, 0.5),
        (4, 3, 0.5, 0.0),
        (4, 3, 0.0, 0.5),
        (9, 4, 0.5, 0.6),
        (12, 6, 0.4, 0.4),
        (20, 5, 0.7, 0.3),
    ):
        masks = rng.random((units, inputs)) < of_hidden, rng.random(units) < of_output
        masks[1][0] |= of_output > 0
        x, noise = rng.normal(size=(2, inputs))
        hidden = rng.normal(size=(units, inputs)) + 0.5 * x  # most units active at both inputs, some at one
        drawn = hidden, rng.normal(size=units), *masks, x, x + 0.7 * noise
        cases.append([part if part.dtype == bool else part.round(2) for part in drawn])
    return [
        tuple(read_only(np.asarray(part, bool if k in (2, 3) else float)) for k, part in enumerate(c)) for c in cases
    ]


_EVERYWHERE = (True, True, True, True)


def _both(slope, slope2):
    return slope * slope2


def _shares(hidden, output, mask_hidden, mask_output, x, x2, *, masked=_EVERYWHERE, slopes=_both, size=np.square):
    """(share of the output weights, share of the hidden ones), with a part replaced.

    masked: is the mask applied in the hidden layer's computation, the output layer's, the gradients of hidden weights,
    those of output weights? slopes: what becomes of relu' for either input. size: of a, in place of a^2.
    """
    compute_hidden, compute_output, of_hidden, of_output = masked
    all_hidden, all_output = np.ones(hidden.shape), np.ones(len(output))
    w = hidden * mask_hidden if compute_hidden else hidden
    a = output * mask_output if compute_output else output
    z, z2 = w @ x, w @ x2
    by_output = np.maximum(z, 0) * np.maximum(z2, 0) * (mask_output if of_output else all_output)
    delta = size(a) * slopes((z > 0).astype(float), (z2 > 0).astype(float))
    pairs = x * x2 * (mask_hidden if of_hidden else all_hidden)
    return by_output.sum(), (delta[:, None] * pairs).sum()


def _kernel(**wrong):
    return lambda *case: sum(_shares(*case, **wrong))


_reference = _kernel()


def _changed(change):
    """The right computation on changed arguments."""
    return lambda *case: _reference(*change(*case))


def _gradients(hidden, output, mask_hidden, mask_output, x):
    """Of all survivors in one row, those of pruned weights 0."""
    h = np.maximum((hidden * mask_hidden) @ x, 0)
    delta = output * mask_output * (h > 0)
    return np.append(h * mask_output, np.outer(delta, x) * mask_hidden)


def _of_gradients(finish):
    """finish(gradients at x, gradients at x2)."""
    return lambda *case: finish(_gradients(*case[:5]), _gradients(*case[:4], case[5]))


def _outputs(hidden, output, mask_hidden, mask_output, x, x2):
    """f(x) f(x2)."""
    w, a = hidden * mask_hidden, output * mask_output
    return (a @ np.maximum(w @ x, 0)) * (a @ np.maximum(w @ x2, 0))


def _relation(case, value, _):
    hidden, output, mask_hidden, mask_output, x, x2 = case
    asked = (
        f"For W = {numbers(hidden)} with mask {numbers(mask_hidden)}, a = {numbers(output)} with mask "
        f"{numbers(mask_output)}, x = {numbers(x)} and x2 = {numbers(x2)} you return {numbers(float(value))}. "
    )
    if not mask_output.any():
        return f"{asked}But no path leads to the output. Which surviving weight can still move f?"
    if not mask_hidden.any():
        return f"{asked}But no path leads from the inputs. Which surviving weight can still move f?"
    return (
        f"{asked}Take one surviving weight of either layer: what is the derivative of the pruned f to it at x, what at x2, "
        "and is its product in your sum?"
    )


def _by_density(*case):
    """The dense kernel times both densities."""
    return _kernel(masked=(False,) * 4)(*case) * case[2].mean() * case[3].mean()


def _says_both_are(which):
    return f"Your value is that of {which} with itself. At which two inputs are the gradients taken?"


_NORMED = Mistake(
    "You divide by the lengths of the two gradients: this is the cosine of the angle between them. Which product of the two is the kernel?",
    lambda tried: _is_cosine(tried),
)


def _is_cosine(tried: Tried) -> bool:
    """Silent networks have gradients of length 0: any value will do there."""
    cases = [
        (case, value, np.prod([np.linalg.norm(g) for g in _of_gradients(lambda *g: g)(*case)])) for case, value in tried
    ]
    return all(length == 0 or same(value, _reference(*case) / length) for case, value, length in cases)


_FORGETS_HIDDEN = "The gradients of pruned hidden weights are in your sum. May a pruned weight move?"
_FORGETS_OUTPUT = "The gradients of pruned output weights are in your sum. May a pruned weight move?"

check_pruned_kernel = Exercise(
    "pruned_kernel",
    _pruned_cases,
    array_equals(_reference, _relation),
    "two units to twenty, both layers pruned, one, none, one of them entirely, two inputs each",
    (
        WRITTEN,
        returns(
            _kernel(masked=(True, True, False, False)),
            "The gradients of pruned weights are in your sum: f does not use them, but their derivatives are not 0. May "
            "a pruned weight move?",
        ),
        returns(_kernel(masked=(True, True, False, True)), _FORGETS_HIDDEN),
        returns(_kernel(masked=(True, True, True, False)), _FORGETS_OUTPUT),
        returns(
            _kernel(masked=(False,) * 4), "The masks play no part here: this is the dense kernel. Where do they enter?"
        ),
        returns(
            _kernel(masked=(False, False, True, True)),
            "You take the survivors' gradients in the dense network. Which network computes h, and which weights lie between "
            "a hidden weight and f?",
        ),
        returns(
            _kernel(masked=(False, True, True, True)),
            "Your activations are those of the dense hidden layer. With which weights does the pruned network compute them?",
        ),
        returns(
            _kernel(masked=(True, False, True, True)),
            "The way back from f to a hidden weight leads through pruned output weights here. What is df/dw if its unit's aᵢ "
            "is gone?",
        ),
        returns(
            _changed(lambda w, a, m, m2, x, x2: (w, a, m, np.ones_like(m2), x, x2)),
            "The output layer's mask plays no part here. Where does it enter: in f, in the gradients, or in both?",
        ),
        returns(
            _changed(lambda w, a, m, m2, x, x2: (w, a, np.ones_like(m), m2, x, x2)),
            "The hidden layer's mask plays no part here. Where does it enter: in f, in the gradients, or in both?",
        ),
        returns(
            _changed(lambda w, a, m, m2, x, x2: (w, a, ~np.asarray(m), ~np.asarray(m2), x, x2)),
            "You keep the pruned weights. In this book, is True live or pruned?",
        ),
        returns(
            _kernel(slopes=lambda s, s2: s),
            "relu' is that of x for both inputs. Is a unit active at x also active at x2?",
        ),
        returns(
            _kernel(slopes=lambda s, s2: s2),
            "relu' is that of x2 for both inputs. Is a unit active at x2 also active at x?",
        ),
        returns(
            _kernel(slopes=lambda s, s2: np.maximum(s, s2)),
            "A unit counts if it is active at either input. What is the product of its two slopes if it is silent at one?",
        ),
        returns(
            _kernel(slopes=lambda s, s2: np.ones_like(s)),
            "relu' is missing: silent units pass changes on. If wᵢ · x < 0 and wᵢ moves a little, does f(x) move?",
        ),
        returns(_changed(lambda w, a, m, m2, x, x2: (w, a, m, m2, x, x)), _says_both_are("x")),
        returns(_changed(lambda w, a, m, m2, x, x2: (w, a, m, m2, x2, x2)), _says_both_are("x2")),
        returns(lambda *case: _shares(*case)[0], "This is the output weights' share. What if a hidden weight moves?"),
        returns(lambda *case: _shares(*case)[1], "This is the hidden weights' share. What if an output weight moves?"),
        returns(
            _shares, "These are the two shares. The task asks for one number: what does the kernel do with the two?"
        ),
        *(
            returns(
                _kernel(size=size),
                "aᵢ is not squared in your sum. At how many inputs is the derivative to wᵢⱼ taken, and is aᵢ in each?",
            )
            for size in (np.asarray, np.abs)
        ),
        returns(
            lambda w, a, m, m2, x, x2: _reference(w, np.ones_like(a), m, m2, x, x2),
            "The output weights are missing. On its way from wᵢⱼ to f, which factors does a change meet?",
        ),
        returns(_outputs, "This is f(x) f(x2). Which derivatives does the kernel multiply?"),
        returns(
            _of_gradients(lambda g, g2: g.sum() * g2.sum()),
            "You add up the gradients, then multiply. What is multiplied first in a kernel, what summed?",
        ),
        returns(
            _by_density,
            "This is the dense kernel times the shares that are kept. At best that is a mean over many masks: what do these "
            "two show?",
        ),
        *(
            returns(
                lambda *case, scale=scale: _reference(*case) * scale(*case[0].shape),
                "The right value times a factor that depends on the size of the network. Which factors does the task leave out?",
            )
            for scale in (
                lambda units, inputs: 4 / (units * inputs),
                lambda units, _: 2 / units,
                lambda units, _: 1 / units,
            )
        ),
        _NORMED,
    ),
)
