"""Solutions of the exercises of the chapter "The tangent kernel of a pruned network"; the page shows them, the tests run them."""

import numpy as np


def kernel_by_hand(hidden, output, x):
    h = np.maximum(hidden @ x, 0)  # df / da_i
    delta = output * (h > 0)  # df / dw_ij = delta_i x_j
    return h @ h + (delta @ delta) * (x @ x)


def pruned_kernel(hidden, output, mask_hidden, mask_output, x, x2):
    h, h2 = (np.maximum((hidden * mask_hidden) @ inputs, 0) for inputs in (x, x2))
    delta, delta2 = (output * mask_output * (units > 0) for units in (h, h2))
    return (h * h2) @ mask_output + (delta * delta2) @ mask_hidden @ (x * x2)


def layer_factors(keep, count_pruned):
    own = np.concatenate([[1.0], keep])  # the input layer has no mask
    whole = np.prod(keep)
    return whole / own if count_pruned else np.full(len(own), whole)


def relu_step(kernel):
    lengths = np.sqrt(np.diag(kernel))
    scale = np.outer(lengths, lengths)
    cosine = np.clip(kernel / scale, -1, 1)  # rounding makes 1.0000000000000002
    angle = np.arccos(cosine)
    products = scale * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
    return products, (np.pi - angle) / (2 * np.pi)
