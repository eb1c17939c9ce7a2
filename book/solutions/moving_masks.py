"""Solutions of the exercises of the chapter "Masks that move"; the page shows them, the tests run them."""

import math

import numpy as np


def rigl_update(weight, gradient, mask, drop):
    live = np.flatnonzero(mask)
    k = int(drop * len(live))
    kept = live[np.argsort(np.abs(weight[live]))[k:]]
    steepness = np.abs(gradient)
    steepness[kept] = -1  # they live already
    new = np.zeros_like(mask)
    new[kept] = True
    new[np.argsort(steepness)[len(mask) - k :]] = True
    return new, np.where(new, weight, 0)  # dead weights are 0, so new ones begin there


def explored_share(masks):
    ever = {name: np.any([moment[name] for moment in masks], axis=0) for name in masks[0]}
    return sum(mask.sum() for mask in ever.values()) / sum(mask.size for mask in ever.values())


def erk_counts(shapes, density):
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    dense = set()
    while True:
        sparse = set(shapes) - dense
        budget = density * sum(size.values()) - sum(size[name] for name in dense)
        c = budget / sum(sum(shapes[name]) for name in sparse)  # size * sum / product is the sum of the sides
        share = {name: c * sum(shapes[name]) / size[name] for name in sparse}
        full = {name for name in sparse if share[name] > 1}
        if not full:
            return {name: size[name] if name in dense else math.ceil(share[name] * size[name]) for name in shapes}
        dense |= full


def weights_that_move(live, alpha, interval, end):
    steps = np.arange(interval, end, interval)
    return np.floor(alpha / 2 * (1 + np.cos(np.pi * steps / end)) * live)


def most_explored(n, live, alpha, interval, end):
    return min(1, (live + weights_that_move(live, alpha, interval, end).sum()) / n)


def explored_by_chance(n, live, alpha, interval, end):
    moved = weights_that_move(live, alpha, interval, end)
    never = (1 - live / n) * np.prod((n - live) / (n - live + moved))
    return 1 - never
