"""Right and wrong answers to the exercise on one step of the recursion."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.relu_step import check_relu_step

relu_step = solutions("tangent_kernel").relu_step


def by_loop(kernel):
    products, slopes = np.empty_like(kernel), np.empty_like(kernel)
    for i, j in np.ndindex(kernel.shape):
        q = np.sqrt(kernel[i, i]) * np.sqrt(kernel[j, j])
        c = min(1.0, max(-1.0, kernel[i, j] / q))
        if i == j:
            c = 1.0
        slopes[i, j] = (np.pi / 2 + np.arcsin(c)) / (2 * np.pi)
        products[i, j] = q * np.sqrt(1 - c * c) / (2 * np.pi) + kernel[i, j] * slopes[i, j]
    return products, slopes


def by_torch(kernel):
    k = torch.tensor(kernel)
    q = k.diagonal().sqrt()
    c = (k / q[:, None] / q).clamp(-1, 1)
    rest = torch.atan2((1 - c * c).sqrt(), -c)  # pi - theta
    return torch.stack([q[:, None] * q * (rest.sin() - rest * rest.cos()), rest]) / (2 * torch.pi)


def pair(cosine=None, lengths=None, rest=lambda theta: np.pi - theta, clip=1.0):
    """The pair with a part replaced; cosine and lengths of (kernel, variances)."""

    @np.errstate(invalid="ignore")
    def answer(kernel):
        variances = kernel.diagonal()
        q = np.sqrt(variances[:, None] * variances)
        c = np.clip(kernel / q if cosine is None else cosine(kernel, variances), -clip, clip)
        theta = np.arccos(c)
        outside = q if lengths is None else lengths(kernel, variances)
        return outside * (np.sin(theta) + rest(theta) * c) / (2 * np.pi), rest(theta) / (2 * np.pi)

    return answer


def then(change):
    """change(products, slopes, kernel, lengths)."""

    @np.errstate(invalid="ignore", divide="ignore")
    def answer(kernel):
        q = np.sqrt(np.diag(kernel))
        return change(*by_loop(kernel), kernel, np.outer(q, q))

    return answer


@np.errstate(invalid="ignore")
def clipped_above_only(kernel):
    q = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
    theta = np.arccos(np.minimum(kernel / q, 1))
    return q * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi), (np.pi - theta) / (2 * np.pi)


@np.errstate(invalid="ignore")
def not_clipped(kernel):
    q = np.sqrt(np.diag(kernel))
    c = kernel / q[:, None] / q[None, :]
    theta = np.arccos(c)
    return np.outer(q, q) * (np.sin(theta) + (np.pi - theta) * c) / (2 * np.pi), (np.pi - theta) / (2 * np.pi)


@np.errstate(invalid="ignore")
def only_diagonal(kernel):
    """Cosines of 1 are put on the diagonal; two inputs on one line are forgotten."""
    q = np.sqrt(np.diag(kernel))
    c = kernel / np.outer(q, q)
    np.fill_diagonal(c, 1.0)
    theta = np.arccos(c)
    return np.outer(q, q) * (np.sin(theta) + (np.pi - theta) * c) / (2 * np.pi), (np.pi - theta) / (2 * np.pi)


def sampled(draws):
    def answer(kernel):
        rng = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(kernel)
        u = rng.normal(size=(draws, len(kernel))) @ (vectors * np.sqrt(values.clip(0))).T
        u = np.concatenate([u, -u])
        return u.clip(0).T @ u.clip(0) / len(u), (u > 0).T.astype(float) @ (u > 0) / len(u)

    return answer


def writes(kernel):
    kernel /= 2
    return by_loop(kernel)


STEP = [
    Answer(check_relu_step, "solution", relu_step),
    Answer(check_relu_step, "loop", by_loop),
    Answer(check_relu_step, "torch", by_torch),
    Answer(check_relu_step, "stacked", lambda kernel: np.array(by_loop(kernel))),
    *(
        Answer(check_relu_step, name, function, "wrong", says)
        for name, function, says in [
            ("rounding", not_clipped, "Some of your entries are not numbers"),
            ("rounding below", clipped_above_only, "Some of your entries are not numbers"),
            ("diagonal alone", only_diagonal, "Some of your entries are not numbers"),
            ("clipped too early", pair(clip=1 - 1e-4), "Right, but where two inputs lie on one line"),
            ("swapped", then(lambda s, d, k, q: (d, s)), "The two are swapped"),
            ("products alone", then(lambda s, d, k, q: s), "first matrix alone"),
            ("slopes alone", then(lambda s, d, k, q: d), "second matrix alone"),
            ("doubled", then(lambda s, d, k, q: (2 * s, 2 * d)), "is in both matrices"),
            ("products doubled", then(lambda s, d, k, q: (2 * s, d)), "is in the first matrix"),
            ("slopes doubled", then(lambda s, d, k, q: (s, 2 * d)), "is in the second matrix"),
            ("covariance for cosine", pair(lambda k, v: k), "arccos of the covariance itself"),
            ("covariance, not cut", pair(lambda k, v: k, clip=np.inf), "arccos of the covariance itself"),
            ("no root, not cut", pair(lambda k, v: k / np.outer(v, v), clip=np.inf), "you divide by variances"),
            ("no root", pair(lambda k, v: k / (v[:, None] * v)), "you divide by variances"),
            ("one variance", pair(lambda k, v: k / v), "by one of the two variances"),
            ("largest entry", pair(lambda k, v: k / k.max()), "by the largest entry"),
            ("theta", pair(rest=lambda theta: theta), "θ stands where π − θ belongs. At θ = 0 the two"),
            ("theta in slopes", then(lambda s, d, k, q: (s, 0.5 - d)), "In the second matrix θ stands"),
            ("no lengths", pair(lengths=lambda k, v: 1), "lengths are missing"),
            ("variances", pair(lengths=lambda k, v: np.outer(v, v)), "scaled by variances"),
            ("slopes with lengths", then(lambda s, d, k, q: (s, q * d)), "second matrix is scaled by the lengths"),
            (
                "sine alone",
                then(lambda s, d, k, q: (q * np.sqrt(abs(1 - (k / q) ** 2)) / (2 * np.pi), d)),
                "the sine is left",
            ),
            ("no sine", then(lambda s, d, k, q: (k * d, d)), "sine is missing"),
            ("covariance after", then(lambda s, d, k, q: (s - q / (2 * np.pi), d)), "product of the means"),
            ("relu of the covariance", lambda k: (k.clip(0), (k > 0) * 1.0), "apply the ReLU to the covariance"),
            ("halved", lambda k: (k / 2, k * 0 + 0.5), "You halve everything"),
            ("sampled", sampled(20_000), "averages over random draws"),
            ("negative", then(lambda s, d, k, q: (-s, d)), "Can a mean of products"),
            ("diagonal", then(lambda s, d, k, q: (s + np.diag(np.diag(k)), d)), "How much of a variance is left"),
            ("too long", then(lambda s, d, k, q: (s + q - np.diag(np.diag(q)), d)), "more than u = v could reach"),
            (
                "a bit more",
                then(lambda s, d, k, q: (s + (q - np.diag(np.diag(q))) / 8, d)),
                "on which side of the formula",
            ),
            ("no probability", then(lambda s, d, k, q: (s, d + 1)), "Can it lie outside of 0 to 1?"),
            (
                "sure at u = v",
                then(lambda s, d, k, q: (s, d + np.eye(len(k)) / 2)),
                "With which probability is u positive?",
            ),
            ("half more", then(lambda s, d, k, q: (s, d + (1 - np.eye(len(k))) / 4)), "and at which θ?"),
            ("no numbers", then(lambda s, d, k, q: (s / 0, d / 0)), "what you hand to arccos?"),
            ("no numbers in slopes", then(lambda s, d, k, q: (s, d / 0)), "what you hand to arccos?"),
            ("one matrix", lambda kernel: 3 * kernel, "You return one matrix"),
            ("three", then(lambda s, d, k, q: (s, d, k)), "You return 3 things"),
            ("one input", then(lambda s, d, k, q: (s[0], d[0])), "Which step of yours"),
        ]
    ),
    Answer(check_relu_step, "writes", writes, "error", "Where does a copy belong?"),
]
