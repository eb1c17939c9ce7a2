"""Digits and digits in disguise: sizes, splits, one image by hand. MNIST: test_mnist.py."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from lttlib.data import DISGUISES, LABEL_SHIFTS, digits, disguise, disguised_digits


def rows(x) -> list[bytes]:
    """Every image as bytes, to compare images exactly."""
    return [row.numpy().tobytes() for row in x]


def test_digits_are_all_there_once():
    data = digits()
    assert data.x_train.shape == (1200, 64) and data.x_test.shape == (597, 64)
    assert data.y_train.shape == (1200,) and data.y_test.shape == (597,)
    assert (data.name, data.classes, data.features) == ("digits", 10, 64)
    assert (
        data.x_train.dtype == data.x_test.dtype == torch.float32
        and data.y_train.dtype == data.y_test.dtype == torch.int64
    )
    source = load_digits()
    expected = sorted(
        (image.astype(np.float32).tobytes(), int(label))
        for image, label in zip(source.data, source.target, strict=True)
    )
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    assert sorted(zip(rows(x * 16), y.tolist(), strict=True)) == expected


def test_digits_are_shuffled_and_split_the_same_way_always():
    first, again = digits(), digits()
    assert first.x_train.equal(again.x_train) and first.y_test.equal(again.y_test)
    assert first.y_train[:10].tolist() != load_digits().target[:10].tolist()
    assert (torch.bincount(first.y_test) > 40).all()  # every class on both sides


def test_no_image_is_on_both_sides():
    for data in (digits(), disguised_digits()):
        assert not set(rows(data.x_train)) & set(rows(data.x_test))


def test_pixels_stay_in_their_range():
    assert (float(digits().x_train.min()), float(digits().x_train.max())) == (0, 1)
    data = disguised_digits()
    assert (float(data.x_train.min()), float(data.x_train.max())) == (-0.5, 0.5)


def test_disguise_by_hand():
    """One image whose pixel at row r and column c is (8 r + c) / 63, label 6."""
    image = [[(8 * r + c) / 63 for c in range(8)] for r in range(8)]
    x, y, kind = disguise(torch.tensor([sum(image, start=[])]), torch.tensor([6]))  # noqa: RUF017
    assert y.tolist() == [6, 9, 1, 3] and kind.tolist() == [0, 1, 2, 3]
    for r in range(8):
        for c in range(8):
            expected = (image[r][c] - 0.5, 0.5 - image[r][c], image[c][r] - 0.5, 0.5 - image[c][r])
            for found, value in zip(x[:, 8 * r + c].tolist(), expected, strict=True):
                assert abs(found - value) < 1e-6


def test_disguised_digits_are_digits_four_times():
    plain, data = digits(), disguised_digits()
    assert data.x_train.shape == (4800, 64) and data.x_test.shape == (2388, 64)
    assert data.y_train.shape == (4800,) and data.y_test.shape == (2388,)
    assert (data.name, data.classes, len(DISGUISES), len(LABEL_SHIFTS)) == ("disguised digits", 10, 4, 4)
    assert data.x_train[:1200].equal(plain.x_train - 0.5) and data.y_train[:1200].equal(plain.y_train)
    for k, shift in enumerate((0, 3, 5, 7)):
        assert data.y_test[597 * k : 597 * (k + 1)].equal((plain.y_test + shift) % 10)
    inverted = data.x_test[597 : 2 * 597]
    assert inverted.equal(-data.x_test[:597]) and data.x_test[3 * 597 :].equal(-data.x_test[2 * 597 : 3 * 597])


def test_disguises_of_the_test_images_were_not_trained_on():
    """Undone, no disguised test image is a disguised training image."""
    data = disguised_digits()

    def originals(x):
        image = x.view(-1, 8, 8)
        return {row for view in (image, -image, image.mT, -image.mT) for row in rows(view.reshape(-1, 64))}

    assert not originals(data.x_train) & originals(data.x_test)


def test_split_is_the_one_that_recorded_results_were_made_with():
    data = digits()
    assert data.y_train[:12].tolist() == [6, 6, 6, 2, 5, 6, 6, 2, 2, 1, 1, 9] and data.y_test[-6:].tolist() == [
        9,
        6,
        2,
        2,
        9,
        3,
    ]
