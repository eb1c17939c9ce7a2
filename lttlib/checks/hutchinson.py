"""Check of the exercise on Hutchinson's estimator: no two right answers give the same numbers, so it is judged by statistics."""

import numpy as np
import torch

from lttlib.checks.answers import Exercise, Mistake, numbers, tensor


def _hutchinson_cases(rng):
    """(hvp, n, draws, generator): a diagonal matrix, where one draw is exact, then coupled ones with many draws."""
    cases = []
    for n, draws, coupled in ((1, 1, False), (3, 1, False), (3, 4, False), (3, 4000, True), (6, 4000, True)):
        a = rng.normal(size=(n, n))
        matrix = tensor((a + a.T) / 2 if coupled else np.diag(rng.normal(size=n)))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 30)))
        cases.append((_Product(matrix), n, draws, generator))
    return cases


class _Product:
    """v to H v, as a function the reader can call but not look into. Copies share the count of vectors multiplied."""

    def __init__(self, matrix):
        self.matrix, self.counted = matrix, []

    def __call__(self, vector):
        vector = torch.as_tensor(vector, dtype=torch.float64)
        self.counted.append(vector[0].numel())  # a matrix (n, draws) is many vectors at once
        return self.matrix @ vector

    def __deepcopy__(self, memo):
        copied = _Product(self.matrix)
        copied.counted = self.counted
        return copied

    def __repr__(self):
        return "hvp"


def _standard_error(matrix, draws):
    off = matrix - torch.diag(matrix.diagonal())
    return (off.square().sum(1) / draws).sqrt()


def _judge_hutchinson(case, value):
    hvp, n, draws, _ = case
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.shape != (n,):
        return f"Your result has shape {tuple(value.shape)} for n = {n}. How many diagonal entries has an n × n matrix?"
    if _few(case):
        return f"You multiplied by {sum(hvp.counted)} vectors where draws = {draws}. Is every draw one product?"
    if _close(case, value):
        return None
    if bool((hvp.matrix == torch.diag(hvp.matrix.diagonal())).all()):
        return (
            f"For a diagonal matrix you return {numbers(value)} after {draws} draw(s). With z = ±1 every draw is exact "
            "there, because zᵢ² = 1. What does your z do to one entry?"
        )
    return f"After {draws} draws you return {numbers(value)}, further from the diagonal than six standard errors. What is E[zᵢ (Hz)ᵢ] for your z?"


def _few(case):
    hvp, _, draws, _ = case
    return 1 < sum(hvp.counted) < draws  # a single one may be torch.vmap over all draws


def _close(case, value):
    hvp, _, draws, _ = case
    return _near(value, hvp.matrix.diagonal(), hvp.matrix, 6 * _standard_error(hvp.matrix, draws))


def _near(value, wanted, matrix, error):
    """Within the error, or within the rounding of single precision: an answer may add up in float32."""
    value = torch.as_tensor(value, dtype=torch.float64)
    return bool(((value - wanted).abs() <= error + 1e-5 * matrix.abs().max()).all())


def _off_by(factor):
    def spotted(tried):
        return all(
            _near(
                torch.as_tensor(value) / factor(draws),
                hvp.matrix.diagonal(),
                hvp.matrix,
                6 * _standard_error(hvp.matrix, draws),
            )
            for (hvp, _, draws, _), value in tried
        )

    return spotted


def _as_if_absolute(tried):
    return all(
        _near(value, hvp.matrix.diagonal().abs(), hvp.matrix, 6 * _standard_error(hvp.matrix, draws))
        for (hvp, _, draws, _), value in tried
    )


def _gaussian(tried):
    """Entries of a diagonal matrix come back times z², and the mean over many draws is about right."""
    few = [(hvp.matrix.diagonal(), torch.as_tensor(v)) for (hvp, n, draws, _), v in tried if draws == 1]
    many = [(hvp.matrix, torch.as_tensor(v), draws) for (hvp, _, draws, _), v in tried if draws > 100]
    signs_right = all(bool((value * diagonal > 0).all()) for diagonal, value in few)
    spread = [((value - m.diagonal()).abs() <= 0.25 * m.abs().max()).all() for m, value, _ in many]
    return signs_right and all(map(bool, spread)) and any(not torch.allclose(v, d) for d, v in few)


def _one_draw(tried):
    """Exact on diagonal matrices; on coupled ones every value is a sum h_ii ± h_ij ... of a single draw."""
    for (hvp, n, _, _), value in tried:
        value = torch.as_tensor(value, dtype=torch.float64)
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * n).view(-1, n)
        if not bool(((signs * (signs @ hvp.matrix) - value).abs().max(1).values < 1e-6).any()):
            return False
    return True


def _row_sums(tried):
    return all(torch.allclose(torch.as_tensor(v, dtype=torch.float64), hvp.matrix.sum(1)) for (hvp, *_), v in tried)


def _divided(tried):
    """Exact on diagonal matrices, wild on coupled ones: (Hz)_i / z_i with a z that may be near zero."""
    if any(tuple(torch.as_tensor(value).shape) != (n,) for (_, n, _, _), value in tried) or any(
        _few(c) for c, _ in tried
    ):
        return False
    exact = all(
        _near(value, hvp.matrix.diagonal(), hvp.matrix, 0) for (hvp, _, draws, _), value in tried if draws < 100
    )
    wild = [
        not _near(value, hvp.matrix.diagonal(), hvp.matrix, 15 * _standard_error(hvp.matrix, draws))
        for (hvp, _, draws, _), value in tried
        if draws > 100
    ]
    return exact and any(wild)


check_hutchinson = Exercise(
    "hutchinson",
    _hutchinson_cases,
    _judge_hutchinson,
    "diagonal matrices after one draw (exact), coupled ones with negative entries after thousands (within six standard errors)",
    (
        Mistake(
            "All entries of your z share one sign, so every draw is the row sums. What is E[zᵢ zⱼ] then?", _row_sums
        ),
        Mistake("This is one draw, whatever `draws` says. Where is the mean over draws?", _one_draw),
        Mistake("This is the sum over draws. What is missing to make it a mean?", _off_by(lambda draws: draws)),
        Mistake("The sign is turned around. Is it z times Hz, or minus that?", _off_by(lambda draws: -1)),
        Mistake(
            "The entries come back without their sign. The true diagonal may be negative; why take the absolute value?",
            _as_if_absolute,
        ),
        Mistake(
            "Exact on diagonal matrices, wild on coupled ones: this looks like dividing by a Gaussian z, which may be near zero. Which z has 1/z = z?",
            _divided,
        ),
        Mistake(
            "This looks like Gaussian z. Its mean is right, but z² is 1 only on average, so even a diagonal matrix comes back noisy. Which z has z² = 1 always?",
            _gaussian,
        ),
    ),
)
