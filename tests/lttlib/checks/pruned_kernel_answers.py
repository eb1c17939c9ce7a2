"""Right and wrong answers to the exercise on the tangent kernel of a pruned network."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.pruned_kernel import check_pruned_kernel

pruned_kernel = solutions("tangent_kernel").pruned_kernel


def gradients(hidden, output, mask_hidden, mask_output, x, *, of_pruned=False, in_forward=True):
    """torch's gradient to W and a: to the weights before the mask, or to the masked ones, pruned ones included."""
    masks = [torch.tensor(mask, dtype=torch.float64) for mask in (mask_hidden, mask_output)]
    leaves = [torch.tensor(part) for part in (hidden, output)]
    if of_pruned and in_forward:
        leaves = [leaf * mask for leaf, mask in zip(leaves, masks, strict=True)]
    for leaf in leaves:
        leaf.requires_grad_(True)
    w, a = leaves if of_pruned or not in_forward else (leaf * mask for leaf, mask in zip(leaves, masks, strict=True))
    (torch.relu(w @ torch.tensor(x)) @ a).backward()
    grads = [leaf.grad for leaf in leaves]
    if not in_forward and not of_pruned:
        grads = [grad * mask for grad, mask in zip(grads, masks, strict=True)]
    return torch.cat([grad.flatten() for grad in grads]).numpy()


def products(finish=np.dot, **how):
    """finish(gradient at x, gradient at x2)."""
    return lambda *case: finish(gradients(*case[:5], **how), gradients(*case[:4], case[5], **how))


def by_loop(hidden, output, mask_hidden, mask_output, x, x2):
    total = 0.0
    for w, m, a, kept in zip(hidden, mask_hidden, output, mask_output, strict=True):
        z, z2 = (w[m] @ inputs[m] for inputs in (x, x2))
        if kept and z > 0 and z2 > 0:  # else the unit's share is 0
            total += z * z2 + a * a * (x[m] @ x2[m])
    return total


def by_small_network(hidden, output, mask_hidden, mask_output, x, x2):
    """Units without a way out are dropped, pruned weights set to 0, and their gradients too."""
    w, m, a = hidden[mask_output] * mask_hidden[mask_output], mask_hidden[mask_output], output[mask_output]
    h, h2 = np.maximum(w @ x, 0), np.maximum(w @ x2, 0)
    both = np.sign(h * h2)
    return np.einsum("i,i->", h, h2) + np.einsum("i,i,ij,j,j->", both, a**2, m.astype(float), x, x2)


def masked(compute_hidden, compute_output, of_hidden, of_output):
    """The kernel with masks in some of the four places."""

    def answer(hidden, output, mask_hidden, mask_output, x, x2):
        w = np.where(mask_hidden | (not compute_hidden), hidden, 0)
        a = np.where(mask_output | (not compute_output), output, 0)
        total = 0.0
        for i in range(len(a)):
            z, z2 = w[i] @ x, w[i] @ x2
            if z > 0 and z2 > 0:
                total += z * z2 * (mask_output[i] or not of_output)
                total += a[i] ** 2 * sum(x * x2 * (mask_hidden[i] if of_hidden else 1))
        return total

    return answer


def sloped(slope_of, size=np.square):
    """The right kernel with slopes slope_of(z, z2) and size(a) for a squared."""

    def answer(hidden, output, mask_hidden, mask_output, x, x2):
        w, a = hidden * mask_hidden, output * mask_output
        z, z2 = w @ x, w @ x2
        shared = mask_hidden @ (x * x2)
        return (mask_output * z.clip(0) * z2.clip(0)).sum() + (size(a) * slope_of(z, z2) * shared).sum()

    return answer


def both(z, z2):
    return (z > 0) & (z2 > 0)


def share(layer):
    def answer(hidden, output, mask_hidden, mask_output, x, x2):
        case = hidden, output, mask_hidden, mask_output
        g, g2 = gradients(*case, x), gradients(*case, x2)
        first = slice(None, hidden.size) if layer == "hidden" else slice(hidden.size, None)
        return g[first] @ g2[first]

    return answer


def changed(change):
    return lambda *case: by_loop(*change(*case))


def outputs(hidden, output, mask_hidden, mask_output, x, x2):
    f = [np.maximum((hidden * mask_hidden) @ inputs, 0) @ (output * mask_output) for inputs in (x, x2)]
    return f[0] * f[1]


def cosine(g, g2):
    return g @ g2 / max(np.linalg.norm(g) * np.linalg.norm(g2), 1e-9)


def dense(*case):
    return masked(False, False, False, False)(*case)


def silent(output_gone):
    """Right, but where one of the layers is gone."""

    def answer(*case):
        gone = not case[3].any() if output_gone else not case[2].any()
        return by_loop(*case) + 3.5 * gone

    return answer


def writes(hidden, output, mask_hidden, mask_output, x, x2):
    hidden[~mask_hidden] = 0
    return by_loop(hidden, output, mask_hidden, mask_output, x, x2)


PRUNED = [
    Answer(check_pruned_kernel, "solution", pruned_kernel),
    Answer(check_pruned_kernel, "autograd", products()),
    Answer(check_pruned_kernel, "loop", by_loop),
    Answer(check_pruned_kernel, "small network", by_small_network),
    Answer(check_pruned_kernel, "masks twice", changed(lambda w, a, m, m2, x, x2: (w * m, a * m2, m, m2, x, x2))),
    *(
        Answer(check_pruned_kernel, name, function, "wrong", says)
        for name, function, says in [
            ("pruned ones counted", products(of_pruned=True), "The gradients of pruned weights are in your sum"),
            ("pruned hidden ones", masked(True, True, False, True), "of pruned hidden weights"),
            ("pruned output ones", masked(True, True, True, False), "of pruned output weights"),
            ("no masks", dense, "this is the dense kernel. Where"),
            ("gradients alone", products(in_forward=False), "survivors' gradients in the dense network"),
            ("dense activations", masked(False, True, True, True), "activations are those of the dense"),
            ("dense way back", masked(True, False, True, True), "leads through pruned output weights"),
            (
                "no output mask",
                changed(lambda w, a, m, m2, x, x2: (w, a, m, m2 | True, x, x2)),
                "The output layer's mask plays no part",
            ),
            (
                "no hidden mask",
                changed(lambda w, a, m, m2, x, x2: (w, a, m | True, m2, x, x2)),
                "The hidden layer's mask plays no part",
            ),
            ("inverted", changed(lambda w, a, m, m2, x, x2: (w, a, ~m, ~m2, x, x2)), "You keep the pruned weights"),
            ("slopes of x", sloped(lambda z, z2: z > 0), "that of x for both"),
            ("slopes of x2", sloped(lambda z, z2: z2 > 0), "that of x2 for both"),
            ("either slope", sloped(lambda z, z2: (z > 0) | (z2 > 0)), "active at either input"),
            ("no slopes", sloped(lambda z, z2: 1), "relu' is missing"),
            ("x alone", changed(lambda w, a, m, m2, x, x2: (w, a, m, m2, x, x)), "that of x with itself"),
            ("x2 alone", changed(lambda w, a, m, m2, x, x2: (w, a, m, m2, x2, x2)), "that of x2 with itself"),
            ("output share", share("output"), "output weights' share"),
            ("hidden share", share("hidden"), "hidden weights' share"),
            ("two shares", lambda *case: (share("output")(*case), share("hidden")(*case)), "the two shares"),
            ("a once", sloped(both, lambda a: a), "aᵢ is not squared"),
            ("size of a", sloped(both, abs), "aᵢ is not squared"),
            ("no a", sloped(both, lambda a: a != 0), "output weights are missing"),
            ("outputs", outputs, "This is f(x) f(x2)"),
            ("sums first", products(lambda g, g2: g.sum() * g2.sum()), "add up the gradients, then multiply"),
            ("cosine", products(cosine), "cosine of the angle"),
            (
                "densities",
                lambda *case: dense(*case) * case[2].mean() * case[3].mean(),
                "times the shares that are kept",
            ),
            ("scaled", lambda *case: by_loop(*case) * 4 / case[0].size, "size of the network"),
            ("1/units", lambda *case: by_loop(*case) / len(case[1]), "size of the network"),
            ("2/units", lambda *case: by_loop(*case) * 2 / len(case[1]), "size of the network"),
            ("output gone", silent(output_gone=True), "But no path leads to the output"),
            ("hidden gone", silent(output_gone=False), "But no path leads from the inputs"),
            ("double", lambda *case: 2 * by_loop(*case), "is its product in your sum?"),
            ("matrix", lambda *case: np.full((1, 1), by_loop(*case)), "You return shape (1, 1)"),
            ("products", products(lambda g, g2: g * g2), "You return shape (6,)"),
        ]
    ),
    Answer(check_pruned_kernel, "writes", writes, "error", "Where does a copy belong?"),
]
