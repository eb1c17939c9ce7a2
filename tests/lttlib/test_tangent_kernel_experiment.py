"""The recorded experiment on tangent kernels: its grid, its rows against direct computation, the same seed twice."""

import numpy as np
import pytest
import torch
from errors import assert_one_line_error

from lttlib.data import digits
from lttlib.experiments import tangent_kernel
from lttlib.ntk import network_output, relu_kernels
from lttlib.pruned_kernels import draw_network


def test_grid_has_every_part_and_small_widths_come_first():
    cells = tangent_kernel.cells("mnist", 5)
    assert {cell["part"] for cell in cells} == {"width", "variants", "training"}
    assert [cell["width"] for cell in cells] == sorted(cell["width"] for cell in cells)
    largest = [c for c in cells if c["part"] == "width" and c["hidden_layers"] == 2 and c["width"] == 8192]
    assert len(largest) == 4 * 5 and 5 * tangent_kernel.NETWORKS >= 50
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)
    assert_one_line_error(lambda: tangent_kernel.cells("cifar", 1), "data", "cifar", "mnist")


def test_images_are_sorted_by_class_and_give_variance_one():
    images = tangent_kernel.sorted_images(digits(), per_class=2)
    assert images.shape == (20, 64)
    torch.testing.assert_close(2 * images.square().sum(1) / 64, torch.ones(20))
    first = digits().x_test[digits().y_test == 3][0]
    torch.testing.assert_close(images[6] / images[6].norm(), first / first.norm())


def test_width_row_against_gradients_by_autograd():
    x = tangent_kernel.sorted_images(digits(), per_class=1)
    row = tangent_kernel.width_row(x, 2, 16, 0.5, seed=3)
    weights, masks = draw_network(64, 16, 2, keep=0.5, generator=torch.Generator().manual_seed(3), dtype=torch.float32)
    weights = [weight.requires_grad_() for weight in weights]
    gradients = []
    for one in x:
        found = torch.autograd.grad(network_output(weights, one[None], masks)[0, 0], weights)
        gradients.append(torch.cat([g.flatten() for g in found]).double())
    kernel, limit = torch.stack(gradients) @ torch.stack(gradients).T, relu_kernels(x, hidden_layers=2)[1]
    factor = np.linalg.lstsq(limit.flatten()[:, None].numpy(), kernel.flatten().numpy(), rcond=None)[0][0]
    assert row["ratio"][0] == pytest.approx(factor, rel=1e-3)
    distance = np.linalg.norm((4 * kernel - limit).numpy()) / np.linalg.norm(limit.numpy())
    assert row["error"][0] == pytest.approx(distance, rel=1e-3)
    assert len(row["error"]) == len(set(row["error"])) == tangent_kernel.NETWORKS


def test_variant_rows_share_weights_and_differ_as_they_should():
    x = tangent_kernel.sorted_images(digits(), per_class=1)
    rows = {row["variant"]: row for row in tangent_kernel.variant_rows(x, 2, 64, 0.5, seed=0)}
    assert len(rows) == 5
    np.testing.assert_allclose(rows["survivors"]["first"], rows["all_weights"]["first"], rtol=1e-3)
    np.testing.assert_allclose(4 * np.array(rows["survivors"]["rest"]), rows["rescaled"]["rest"], rtol=1e-3)
    assert np.mean(rows["all_weights"]["rest"]) > 1.5 * np.mean(rows["survivors"]["rest"])


def test_training_row_is_reproducible_and_beats_chance():
    first, again = (tangent_kernel.run("digits", "training", 2, 64, 0.5, 1)[0] for _ in range(2))
    assert first == again and first["seed"] == 1 and not first["diverged"]
    assert 0.6 < first["accuracy"] <= 1 and 0.6 < first["accuracy of kernel"] <= 1
    other = tangent_kernel.run("digits", "training", 2, 64, 1.0, 1)[0]
    assert other["accuracy of kernel"] == first["accuracy of kernel"] and other["drift"] != first["drift"]


def test_even_digits_are_positive():
    assert tangent_kernel.even_or_odd(torch.tensor([0, 1, 2, 9])).tolist() == [1, -1, 1, -1]
    assert tangent_kernel.share_right(torch.tensor([0.3, -2.0, 0.1]), torch.tensor([1.0, -1.0, -1.0])) == pytest.approx(
        2 / 3
    )
