"""Tangent kernels of ReLU networks: the limit of infinite width, and that of a finite, pruned network.

Jacot et al. 2018, arXiv:1806.07572; Arora et al. 2019, arXiv:1904.11955. A network f with parameters w has the kernel

    Theta(x, x') = sum over weights w_i of df(x)/dw_i df(x')/dw_i

Layer l computes W_l h sqrt(2 / fan-in), the output layer too, with W_l drawn from N(0, 1). As the width grows, Theta
tends to a kernel that a recursion over the layers gives. With covariance K between two inputs, q = sqrt(diag K) and
theta = arccos(K / (q q')),

    E[relu(u) relu(v)]   = q q' (sin theta + (pi - theta) cos theta) / (2 pi)
    E[relu'(u) relu'(v)] = (pi - theta) / (2 pi)

Pruned: Yang & Wang 2022, arXiv:2203.14328; see lttlib.pruned_kernels. Book: "The tangent kernel of a pruned network".
"""

import math
from collections.abc import Sequence

import torch
from lttkernels.masked_ntk import masked_ntk
from lttkernels.threads import set_threads
from torch import Tensor
from torch.func import jacrev

from lttlib.arguments import require, require_choice, require_finite, require_mask

METHODS = ("auto", "rows", "pairs", "jacobian")


def relu_kernels(
    x: Tensor,
    x2: Tensor | None = None,
    *,
    hidden_layers: int,
    bias_variance: float = 0.0,
    parameterization: str = "ntk",
    width: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(nngp, ntk) between the rows of x and of x2 (x itself if None), at infinite width; float64 (n, n2).

    x: (n, d0), x2: (n2, d0), raw inputs; weights have variance 2, biases bias_variance. nngp is the covariance of the
    outputs over random networks. "ntk": layers as in the head of this file. "standard": weights of variance 2 / fan-in
    and no factor in the layer, so that the kernel grows with `width`, which it needs ("ntk" ignores it). Where rows are
    equal or opposite, angles are exact; those of almost parallel rows have an error of about 1e-8.
    """
    require_choice(parameterization, ("ntk", "standard"), "parameterization")
    standard = parameterization == "standard"
    if standard:
        require(width is not None and width >= 1, "width", width, "the number of units of the hidden layers",
                'the kernel of parameterization="standard" grows with it')  # fmt: skip
    kernel, variances, aligned = _first_layer(x, x2, hidden_layers, bias_variance)
    trained_bias = float(bias_variance > 0)
    ntk = (kernel - bias_variance) * x.shape[1] / 2 + trained_bias if standard else kernel
    for _ in range(hidden_layers):
        products, slopes = relu_expectations(kernel, variances, aligned)
        kernel = 2 * products + bias_variance
        variances = [variance + bias_variance for variance in variances]
        aligned = aligned.clamp(min=0)  # relu(u) and relu(-u) are not opposite
        ntk = (width * products + trained_bias if standard else kernel) + 2 * slopes * ntk
    return kernel, ntk


def relu_contributions(
    x: Tensor, x2: Tensor | None = None, *, hidden_layers: int, bias_variance: float = 0.0
) -> Tensor:
    """What each layer adds to the limit kernel, input layer first: float64 (hidden_layers + 1, n, n2); sum(0) is ntk.

    Arguments as in relu_kernels, parameterization "ntk". Layer h adds the covariance of the activations before it, and
    a factor 2 E[relu' relu'] for each layer of units behind it.
    """
    kernel, variances, aligned = _first_layer(x, x2, hidden_layers, bias_variance)
    terms = [kernel]
    for _ in range(hidden_layers):
        products, slopes = relu_expectations(kernel, variances, aligned)
        kernel = 2 * products + bias_variance
        variances = [variance + bias_variance for variance in variances]
        aligned = aligned.clamp(min=0)  # relu(u) and relu(-u) are not opposite
        terms = [2 * slopes * term for term in terms] + [kernel]
    return torch.stack(terms)


def relu_expectations(kernel: Tensor, variances: Sequence[Tensor], aligned: Tensor) -> tuple[Tensor, Tensor]:
    """(E[relu(u) relu(v)], E[relu'(u) relu'(v)]) for Gaussian u, v of mean 0: arc-cosine kernels of degree 1 and 0.

    kernel: covariance (n, n2). variances: those of u (n,) and of v (n2,). aligned: (n, n2), 1 where u = v, -1 where
    u = -v, else 0: arccos is steep at 1 and -1, and rounding would make an angle. A variance of 0 gives products of 0.
    """
    lengths = torch.outer(*(variance.sqrt() for variance in variances))
    cosine = (kernel / lengths.where(lengths > 0, 1.0)).clamp(-1, 1).where(aligned == 0, aligned)
    angle = cosine.arccos()
    products = lengths * (angle.sin() + (math.pi - angle) * cosine) / (2 * math.pi)
    return products, (math.pi - angle) / (2 * math.pi)


def empirical_ntk(
    weights: Sequence[Tensor], x: Tensor, masks: Sequence[Tensor | None] | None = None, *, method: str = "auto"
) -> Tensor:
    """Tangent kernel (n, n) of a ReLU network without biases and with one output: empirical_contributions, summed."""
    return empirical_contributions(weights, x, masks, method=method).sum(0)


@torch.no_grad()
def empirical_contributions(
    weights: Sequence[Tensor], x: Tensor, masks: Sequence[Tensor | None] | None = None, *, method: str = "auto"
) -> Tensor:
    """What each layer adds to the tangent kernel of a ReLU network without biases: (layers, n, n), input layer first.

    weights: matrices (out, in), first to last, the last one (1, width); masks: as many, bool or None for an unpruned
    layer. x: (n, d0). Layer l computes h @ (W * M).T * sqrt(2 / fan-in), fan-in counted with the pruned ones; only
    surviving weights are differentiated. For k outputs call it with one row of the last matrix (and mask) at a time.

    method: "rows", "pairs" go forward and backward once and contract layer by layer (lttkernels.masked_ntk), "auto"
    takes the quicker one for each layer; "jacobian" lets torch.func.jacrev build all n gradients, in n times the memory
    of the weights. Dtype and device of x.
    """
    masks = _checked_network(weights, x, masks)
    require_choice(method, METHODS, "method")
    if method == "jacobian":
        return _from_jacobian(weights, x, masks)
    set_threads(torch.get_num_threads())
    scales = [math.sqrt(2 / weight.shape[1]) for weight in weights]
    live = [weight if mask is None else weight * mask for weight, mask in zip(weights, masks, strict=True)]
    inputs = [x]  # of each layer, (n, in)
    for weight, scale in zip(live[:-1], scales[:-1], strict=True):
        inputs.append((inputs[-1] @ weight.T * scale).relu())
    deltas = [x.new_full((len(x), 1), scales[-1])]  # df / d(pre-activation), times the scale, (n, out)
    for weight, scale, h in zip(live[:0:-1], scales[-2::-1], inputs[:0:-1], strict=True):
        deltas.append(deltas[-1] @ weight * (h > 0) * scale)
    return torch.stack([
        torch.as_tensor(masked_ntk(_array(h), _array(d), None if m is None else _array(m), method=method))
        for h, d, m in zip(inputs, deltas[::-1], masks, strict=True)
    ])  # fmt: skip


def network_output(weights: Sequence[Tensor], x: Tensor, masks: Sequence[Tensor | None] | None = None) -> Tensor:
    """Outputs (n, out) of the network of empirical_ntk, differentiable; the last matrix may have any number of rows."""
    h = x
    for layer, weight in enumerate(weights):
        mask = None if masks is None else masks[layer]
        h = (h if layer == 0 else h.relu()) @ (weight if mask is None else weight * mask).T
        h = h * math.sqrt(2 / weight.shape[1])
    return h


def _from_jacobian(weights: Sequence[Tensor], x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
    jacobians = jacrev(lambda *given: network_output(given, x, masks)[:, 0], tuple(range(len(weights))))(*weights)
    flat = [jacobian.flatten(1) for jacobian in jacobians]  # (n, out * in)
    return torch.stack([jacobian @ jacobian.T for jacobian in flat])


def _array(tensor: Tensor):
    """The tensor's memory as the kernels take it, no copy: a numpy array, or on a GPU the tensor itself."""
    tensor = tensor.detach().contiguous()  # a tensor on a GPU that requires gradients refuses to show its memory
    return tensor if tensor.is_cuda else tensor.numpy()


def _first_layer(x: Tensor, x2: Tensor | None, hidden_layers: int, bias_variance: float):
    """Covariance (n, n2) before the first ReLU, its variances [(n,), (n2,)], and `aligned`, (n, n2), see above."""
    whole = isinstance(hidden_layers, int) and not isinstance(hidden_layers, bool)
    require(whole and hidden_layers >= 0, "hidden_layers", hidden_layers, "a whole number, 0 or more",
            "it counts layers of ReLU units")  # fmt: skip
    require(0 <= bias_variance < math.inf, "bias_variance", bias_variance, "a number, 0 or more", "0 is no bias")
    for name, rows in (("x", x), ("x2", x if x2 is None else x2)):
        fits = rows.ndim == 2 and rows.shape[1] == x.shape[-1] > 0
        require(fits, f"{name}.shape", tuple(rows.shape), "(n, d0), d0 at least 1 and that of x", "one row per input")
        require_finite(rows, name)
    first = x.detach().double()
    second = first if x2 is None else x2.detach().double()
    fan_in = x.shape[1]
    kernel = 2 * first @ second.T / fan_in + bias_variance
    variances = [2 * rows.square().sum(1) / fan_in + bias_variance for rows in (first, second)]
    number = torch.unique(torch.cat([first, second, -second]), dim=0, return_inverse=True)[
        1
    ]  # equal rows, equal numbers
    own, others, opposites = number.split([len(first), len(second), len(second)])
    aligned = (own[:, None] == others).double()
    return kernel, variances, aligned if bias_variance else aligned - (own[:, None] == opposites).double()


def _checked_network(weights, x: Tensor, masks) -> list[Tensor | None]:
    """masks as a list; errors unless all fit together."""
    require(len(weights) > 0, "weights", "[]", "at least one matrix", "one per layer, first to last")
    require(x.ndim == 2, "x.shape", tuple(x.shape), "(n, d0)", "one row per input")
    require(x.is_floating_point(), "x.dtype", x.dtype, "torch.float32 or torch.float64", "use x.double()", TypeError)
    require_finite(x, "x")
    masks = [None] * len(weights) if masks is None else list(masks)
    require(len(masks) == len(weights), "len(masks)", len(masks), f"{len(weights)}, one per matrix",
            "None stands for an unpruned layer")  # fmt: skip
    fan_in = x.shape[1]
    for layer, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
        name = f"weights[{layer}]"
        fits = weight.ndim == 2 and weight.shape[1] == fan_in > 0
        require(
            fits, f"{name}.shape", tuple(weight.shape), f"(out, {fan_in})", "each layer reads all of the one before"
        )
        require(weight.dtype == x.dtype, f"{name}.dtype", weight.dtype, f"{x.dtype}, that of x", "convert one of them",
                TypeError)  # fmt: skip
        require_finite(weight, name)
        if mask is not None:
            require_mask(mask, weight.shape, f"masks[{layer}]")
        fan_in = weight.shape[0]
    require(fan_in == 1, f"weights[{len(weights) - 1}].shape", tuple(weights[-1].shape), "one row, for one output",
            "take one row of the last matrix, and of its mask, at a time")  # fmt: skip
    return masks
