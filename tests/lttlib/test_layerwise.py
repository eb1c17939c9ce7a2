"""One linear layer pruned: by hand, against the inverse recomputed at every step, against least squares."""

import math

import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st

from lttlib.criteria import obd_saliency
from lttlib.layerwise import input_hessian, obs_prune_row, output_error, repair, sparsegpt_prune, wanda_scores
from lttlib.masks import constant_fan_in_mask, keep_count

seeds = st.integers(0, 10_000)
sparsities = st.sampled_from([0, 0.25, 0.5, 0.6, 0.9])


def problem(seed: int, out: int, columns: int, rows: int = 40):
    """Weights (out, columns) and correlated inputs (rows, columns), float64."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
    inputs = inputs @ torch.randn(columns, columns, generator=draw, dtype=torch.float64)
    return torch.randn(out, columns, generator=draw, dtype=torch.float64), inputs


def keep_best(weight, scores, sparsity) -> torch.Tensor:
    """The weight with only the highest scores of each row."""
    return weight * constant_fan_in_mask(scores, keep_count(weight.shape[1], sparsity))


def test_hessian_by_hand():
    inputs = torch.tensor([[1.0, 2], [3, 4]])
    assert input_hessian(inputs, damping=0).tolist() == [[5, 7], [7, 10]]
    assert input_hessian(inputs, damping=0.1).tolist() == [[5.75, 7], [7, 10.75]]
    assert input_hessian(inputs).dtype == torch.float64
    assert input_hessian(inputs)[0, 0] == pytest.approx(5.075)


def test_wanda_and_output_error_by_hand():
    weight, inputs = torch.tensor([[1.0, -2], [3, 0]]), torch.tensor([[3.0, 0], [4, 1]])
    assert wanda_scores(weight, inputs).tolist() == [[5, 2], [15, 0]]
    # W X: rows (3, 2) and (9, 12): 9 + 4 + 81 + 144. Without the -2 the first row is (3, 4): off by (0, 2).
    assert output_error(weight, weight.clamp(min=0), inputs) == pytest.approx(4 / 238)
    assert output_error(weight, weight, inputs) == 0 and output_error(weight, 0 * weight, inputs) == 1


@given(seeds)
def test_wanda_squared_is_obd_of_the_layer_up_to_a_factor(seed):
    weight, inputs = problem(seed, 3, 5)
    diagonal = input_hessian(inputs, damping=0).diagonal().expand(3, 5)
    torch.testing.assert_close(wanda_scores(weight, inputs) ** 2, 2 * len(inputs) * obd_saliency(weight, diagonal))


def test_obs_row_by_hand():  # the matrix of test_criteria: deleting 2 costs least and moves 0.5 by 0.32
    hessian, row = torch.tensor([[1.0, 4], [4, 25]]), torch.tensor([2.0, 0.5])
    assert obs_prune_row(row, hessian, 0.5).tolist() == pytest.approx([0, 0.82])
    assert obs_prune_row(row, hessian, 0).equal(row)


@given(seeds, st.integers(1, 8), sparsities)
def test_obs_row_against_inverses_recomputed(seed, columns, sparsity):
    """Independent: at every step invert H restricted to the survivors, and try all deletions."""
    weight, inputs = problem(seed, 1, columns)
    h, row, alive = input_hessian(inputs), weight[0].clone(), list(range(columns))
    for _ in range(columns - keep_count(columns, sparsity)):
        inverse = torch.linalg.inv(h[alive][:, alive])
        worst = min(range(len(alive)), key=lambda i: float(row[alive[i]] ** 2 / inverse[i, i]))
        row[alive] -= row[alive[worst]] / inverse[worst, worst] * inverse[:, worst]
        row[alive.pop(worst)] = 0
    found = obs_prune_row(weight[0], h, sparsity)
    assert found.nonzero().flatten().tolist() == alive
    torch.testing.assert_close(found, row, atol=1e-7, rtol=1e-6)


@given(seeds, st.integers(2, 8), sparsities)
def test_survivors_of_obs_are_the_best_for_their_support(seed, columns, sparsity):
    weight, inputs = problem(seed, 1, columns)
    found = obs_prune_row(weight[0], input_hessian(inputs, damping=0), sparsity)
    alive = found != 0
    best = torch.linalg.lstsq(inputs[:, alive], (inputs @ weight[0])[:, None]).solution[:, 0]
    torch.testing.assert_close(found[alive], best, atol=1e-6, rtol=1e-5)


def slow_sparsegpt(weight, hessian, sparsity: float, block: int) -> torch.Tensor:
    """Independent: each deletion solves least squares over the columns to its right; no Cholesky factor."""
    w, columns = weight.clone(), weight.shape[1]
    for row in w:
        gone = 0
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            inverses = [torch.linalg.inv(hessian[j:, j:])[0, 0] for j in range(start, stop)]
            scores = [float(row[start + i] ** 2 / inverse) for i, inverse in enumerate(inverses)]
            count = math.floor(sparsity * stop + 1e-9) - gone
            gone += count
            for j in sorted(sorted(range(start, stop), key=lambda j, s=scores, a=start: s[j - a])[:count]):
                right = slice(j + 1, None)
                if j + 1 < columns:
                    row[right] += torch.linalg.solve(hessian[right, right], hessian[right, j]) * row[j].clone()
                row[j] = 0
    return w


@given(seeds, st.sampled_from([(1, 5), (3, 8), (4, 11)]), sparsities, st.sampled_from([1, 2, 4, 16]))
def test_sparsegpt_against_least_squares(seed, shape, sparsity, block):
    weight, inputs = problem(seed, *shape)
    hessian = input_hessian(inputs)
    found = sparsegpt_prune(weight, hessian, sparsity, block=block)
    torch.testing.assert_close(found, slow_sparsegpt(weight, hessian, sparsity, block), atol=1e-7, rtol=1e-6)
    assert ((found != 0).sum(1) == keep_count(shape[1], sparsity)).all()


def errors_of_all(seed: int, sparsity: float) -> list[float]:
    """Output error of OBS, SparseGPT, Wanda and magnitude on one random layer."""
    weight, inputs = problem(seed, 24, 32, rows=200)
    hessian = input_hessian(inputs)
    candidates = (
        torch.stack([obs_prune_row(row, hessian, sparsity) for row in weight]),
        sparsegpt_prune(weight, hessian, sparsity),
        keep_best(weight, wanda_scores(weight, inputs), sparsity),
        keep_best(weight, weight.abs(), sparsity),
    )
    assert all((pruned != 0).sum() == 24 * keep_count(32, sparsity) for pruned in candidates)
    return [output_error(weight, pruned, inputs) for pruned in candidates]


@given(seeds, sparsities)
def test_repair_is_least_squares_on_the_live_inputs(seed, sparsity):
    weight, inputs = problem(seed, 3, 6)
    mask = constant_fan_in_mask(weight, keep_count(6, sparsity))
    found = repair(weight, mask, input_hessian(inputs, damping=0))
    assert (found[~mask] == 0).all()
    for row, live, new in zip(weight, mask, found, strict=True):
        expected = torch.linalg.lstsq(inputs[:, live], inputs @ row).solution
        torch.testing.assert_close(inputs[:, live] @ new[live], inputs[:, live] @ expected, rtol=1e-4, atol=1e-5)


def test_repair_by_hand():
    hessian = torch.tensor([[1.0, 4.0], [4.0, 25.0]])
    found = repair(torch.tensor([[2.0, 0.5]]), torch.tensor([[False, True]]), hessian)
    assert found.tolist() == [[0, pytest.approx(0.82)]]


@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_repair_pays_on_correlated_inputs(sparsity):
    errors = torch.tensor([errors_of_all(seed, sparsity) for seed in range(5)])
    assert (errors[:, 0] < errors[:, 1:].min(1).values).all()
    _, sparsegpt, wanda, magnitude = errors.mean(0).tolist()  # on average: single layers can fall out otherwise
    assert sparsegpt < wanda < magnitude


@given(seeds, st.integers(1, 9), sparsities)
def test_uncorrelated_inputs_make_all_of_them_wanda(seed, columns, sparsity):
    weight, _ = problem(seed, 3, columns)
    scales = torch.rand(columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    inputs = scales.diag()  # columns that are orthogonal
    expected = keep_best(weight, wanda_scores(weight, inputs), sparsity)
    hessian = input_hessian(inputs, damping=0)
    torch.testing.assert_close(sparsegpt_prune(weight, hessian, sparsity, block=columns), expected)
    torch.testing.assert_close(torch.stack([obs_prune_row(row, hessian, sparsity) for row in weight]), expected)


def test_dtype_stays_and_arguments_are_left_alone():
    weight, inputs = (tensor.float() for tensor in problem(0, 3, 8))
    hessian = input_hessian(inputs)
    before = weight.clone(), hessian.clone()
    found = sparsegpt_prune(torch.nn.Parameter(weight), hessian, 0.5)
    row = obs_prune_row(torch.nn.Parameter(weight[0]), hessian, 0.5)
    assert found.dtype == row.dtype == torch.float32 and not found.requires_grad and not row.requires_grad
    assert weight.equal(before[0]) and hessian.equal(before[1])


def test_damping_rescues_more_columns_than_rows():
    weight, inputs = problem(0, 2, 8, rows=3)
    assert torch.isfinite(sparsegpt_prune(weight, input_hessian(inputs), 0.5)).all()
    assert torch.isfinite(obs_prune_row(weight[0], input_hessian(inputs), 0.5)).all()


W = torch.ones(2, 4)
EYE = torch.eye(4)
NAN = torch.tensor([[1.0, math.nan, 1, 1]])
SINGULAR = torch.ones(4, 4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: input_hessian(torch.ones(4)), ("inputs.shape", "(4,)", "(rows, in)", "flatten")),
        (lambda: input_hessian(torch.ones(0, 4)), ("inputs.shape", "(0, 4)", "(rows, in)")),
        (lambda: input_hessian(W, damping=-1), ("damping", "-1", "0 or more", "0.01")),
        (lambda: input_hessian(NAN), ("inputs", "1 NaN", "finite")),
        (lambda: wanda_scores(W, torch.ones(5, 3)), ("inputs.shape", "(5, 3)", "(rows, 4)", "enters this layer")),
        (lambda: wanda_scores(W, torch.ones(5, 3, 4)), ("inputs.shape", "(5, 3, 4)", "(rows, 4)")),
        (lambda: wanda_scores(NAN, W), ("weight", "1 NaN", "finite")),
        (lambda: wanda_scores(W, NAN), ("inputs", "1 NaN", "finite")),
        (lambda: obs_prune_row(W[0], EYE, 1.2), ("sparsity", "1.2", "[0, 1)", "0.9")),
        (lambda: obs_prune_row(W[0], torch.eye(3), 0.5), ("hessian.shape", "(3, 3)", "(4, 4)")),
        (lambda: obs_prune_row(W, EYE, 0.5), ("weight.shape", "(2, 4)")),
        (lambda: obs_prune_row(NAN[0], EYE, 0.5), ("weight", "1 NaN", "finite")),
        (lambda: obs_prune_row(W[0], SINGULAR, 0.5), ("hessian", "not positive definite", "damping")),
        (lambda: sparsegpt_prune(W, EYE, -0.1), ("sparsity", "-0.1", "[0, 1)", "0.9")),
        (lambda: sparsegpt_prune(W, torch.eye(3), 0.5), ("hessian.shape", "(3, 3)", "(4, 4)", "input_hessian")),
        (lambda: sparsegpt_prune(NAN, EYE, 0.5), ("weight", "1 NaN", "finite")),
        (lambda: sparsegpt_prune(W, SINGULAR, 0.5), ("hessian", "not positive definite", "damping")),
        (lambda: sparsegpt_prune(W, EYE, 0.5, block=0), ("block", "0", "1 or more")),
        (lambda: sparsegpt_prune(W, EYE, 0.5, block=-1), ("block", "-1", "1 or more")),
        (lambda: output_error(W, W[:1], EYE), ("pruned.shape", "(1, 4)", "(2, 4)")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)
