"""Right and wrong answers to the exercise on Hutchinson's estimator."""

import torch
from proof import Answer, solutions

from lttlib.checks.hutchinson import check_hutchinson

hutchinson = solutions("optimal_brain_damage").hutchinson


def hutchinson_at_once(hvp, n, draws, generator):
    z = torch.randn(n, draws, generator=generator).sign().double()
    return (z * hvp(z)).mean(1)


def hutchinson_mapped(hvp, n, draws, generator):
    z = torch.where(torch.rand(draws, n, generator=generator) < 0.5, 1.0, -1.0).double()
    return (z * torch.func.vmap(hvp)(z)).mean(0).tolist()


def drawn(distribution, combine=lambda z, hz: z * hz, *, count=lambda n: n, over=lambda n: n, one=False):
    """The mean of combine(z, Hz) over count(draws) draws, divided by over(draws); one: the same z in every draw."""

    def estimate(hvp, n, draws, generator):
        zs = [distribution(n, generator).double() for _ in range(1 if one else count(draws))]
        total = sum(combine(z, hvp(z)) for z in (zs * count(draws) if one else zs))
        return total / over(draws)

    return estimate


def signs(n, generator):
    return 2 * torch.randint(0, 2, (n,), generator=generator) - 1


def gaussian(n, generator):
    return torch.randn(n, generator=generator)


def bits(n, generator):
    return torch.randint(0, 2, (n,), generator=generator)


def one_sign(n, generator):
    return signs(1, generator).expand(n)


def global_signs(n, generator):
    return 2 * torch.randint(0, 2, (n,)) - 1


def basis(hvp, n, draws, generator):
    return torch.stack([hvp(torch.eye(n)[i])[i] for i in range(n)])


def basis_after_a_draw(hvp, n, draws, generator):
    torch.rand(1, generator=generator)
    return basis(hvp, n, draws, generator)


def reseeded(hvp, n, draws, generator):
    again = torch.Generator().manual_seed(generator.initial_seed())
    return hutchinson(hvp, n, draws, again)


def single(hvp, n, draws, generator):
    z = signs(n, generator).double()
    return z * hvp(z)


def in_single_precision(hvp, n, draws, generator):
    total = torch.zeros(n)
    for _ in range(draws):
        z = signs(n, generator).float()
        total += z * hvp(z)
    return total / draws


def without_the_mean(hvp, n, draws, generator):
    return torch.stack([single(hvp, n, 1, generator) for _ in range(draws)])


HUTCHINSON = [
    Answer(check_hutchinson, "in single precision", in_single_precision),
    Answer(check_hutchinson, "without the mean", without_the_mean, "wrong", "How many diagonal entries"),
    Answer(check_hutchinson, "solution", hutchinson),
    Answer(check_hutchinson, "all draws at once", hutchinson_at_once),
    Answer(check_hutchinson, "mapped, as a list", hutchinson_mapped),
    Answer(check_hutchinson, "divided by signs", drawn(signs, lambda z, hz: hz / z)),
    *(
        Answer(check_hutchinson, name, function, "wrong", says)
        for name, function, says in [
            ("one draw", single, "one draw, whatever `draws` says"),
            ("the same draw again", drawn(signs, one=True), "one draw, whatever `draws` says"),
            ("a sum", drawn(signs, over=lambda n: 1), "sum over draws"),
            ("sign turned", drawn(signs, lambda z, hz: -z * hz), "sign is turned around"),
            ("absolute", lambda *a: hutchinson(*a).abs(), "without their sign"),
            ("Gaussian", drawn(gaussian), "Gaussian z. Its mean is right"),
            ("divided by Gaussian", drawn(gaussian, lambda z, hz: hz / z), "dividing by a Gaussian z"),
            ("z and Hz independent", drawn(signs, lambda z, hz: z.flip(0) * hz), "zᵢ² = 1"),
            ("bits", drawn(bits), "zᵢ² = 1"),
            ("one sign for all", drawn(one_sign), "share one sign"),
            ("z forgotten", drawn(signs, lambda z, hz: hz), "zᵢ² = 1"),
            ("squares", drawn(signs, lambda z, hz: hz**2), "zᵢ² = 1"),
            ("trace", lambda *a: hutchinson(*a).sum(), "has shape ()"),
            (
                "few draws",
                drawn(signs, count=lambda n: min(n, 100), over=lambda n: min(n, 100)),
                "Is every draw one product?",
            ),
            (
                "half the draws",
                drawn(signs, count=lambda n: -(-n // 2), over=lambda n: -(-n // 2)),
                "Is every draw one product?",
            ),
            ("global randomness", drawn(global_signs), "never draws from `generator`"),
            ("unit vectors", basis, "never draws from `generator`"),
            ("unit vectors, one draw for show", basis_after_a_draw, "Is every draw one product?"),
            ("a generator of its own", reseeded, "never draws from `generator`"),
        ]
    ),
]
