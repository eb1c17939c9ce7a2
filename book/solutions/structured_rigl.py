"""Solutions of the exercises of the chapter "Structured RigL"; the page shows them, the tests run them."""

import numpy as np


def fan_in_after_ablation(mask, salient, gamma):
    budget = mask.sum()
    fan_in = mask.sum(axis=1).max()  # the same in all neurons that have weights
    threshold = max(1, int(gamma * fan_in))
    needed = -(-budget // mask.shape[1])  # rounded up
    least = np.sort(salient)[-needed]
    return budget // (salient >= min(threshold, least)).sum()


def salient_counts(weight, grad, mask, fraction):
    live = mask.sum()
    keep = min(live - int(fraction * live), np.count_nonzero(weight))
    salient = largest(weight, keep) | largest(grad, live - keep)
    return salient.sum(axis=1)


def largest(values, count):
    order = np.argsort(np.abs(values), axis=None)
    chosen = np.zeros(values.size, dtype=bool)
    chosen[order[values.size - count :]] = True
    return chosen.reshape(values.shape)


def condensed_forward(values, indices, rows, bias, x, out_features):
    y = np.tile(bias, (len(x), 1))
    y[:, rows] += np.einsum("bnk,nk->bn", x[:, indices], values)
    return y


def fold_ablated(weight, bias, next_weight, next_bias):
    alive = weight.any(axis=1)
    constant = np.maximum(bias[~alive], 0)  # what an ablated neuron answers, whatever comes in
    folded = next_bias + next_weight[:, ~alive] @ constant
    return weight[alive], bias[alive], next_weight[:, alive], folded
