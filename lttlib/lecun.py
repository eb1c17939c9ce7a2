"""The curvature recursion of Optimal Brain Damage (LeCun, Denker & Solla 1989), Levenberg-Marquardt form.

Second derivatives travel backwards like gradients do, with squared weights and squared slopes:
at a layer a = W x + b with curvature h_a, h_W = mean over rows of h_a x^2 and h_x = (W^2)^T h_a; at an activation
x = f(a), h_a = f'(a)^2 h_x. Dropped on the way: off-diagonal terms, and f''(a) times the gradient (which could turn
the result negative). The start is the diagonal of the loss Hessian at the outputs. Cost: one backward pass.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import hessian, vmap

from lttlib.arguments import require

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus)
ROUTING = (nn.Flatten, nn.Unflatten, nn.Identity, nn.MaxPool2d)  # Jacobians of zeros and ones: squaring changes nothing


def lecun_diagonal(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Diagonal curvature by parameter name for an nn.Sequential of Linear, Conv2d, activations, pooling, flatten.

    loss averages over the batch; inputs (rows, ...), targets (rows, ...). Raises TypeError for other layers.
    """
    layers = _layers(model)
    entering = []
    with torch.no_grad():
        x = inputs
        for _, layer in layers:
            entering.append(x)
            x = layer(x.clone())  # an in-place layer must not overwrite what entered it
    curvature = _output_curvature(loss, x, targets) / len(inputs)
    result: dict[str, Tensor] = {}
    for (name, layer), x in zip(reversed(layers), reversed(entering), strict=True):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            result |= _parameter_curvature(f"{name}.", layer, x, curvature)
        curvature = _pull_back(layer, x, curvature)
    return {name: result[name] for name, _ in model.named_parameters()}


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    layers = list(model.named_children())
    known = (nn.Linear, nn.Conv2d, nn.AvgPool2d, *ELEMENTWISE, *ROUTING)
    odd = [type(layer).__name__ for _, layer in layers if not isinstance(layer, known)]
    require(isinstance(model, nn.Sequential) and not odd, "model", odd or type(model).__name__,
            "nn.Sequential of Linear, Conv2d, activations, pooling and flatten",
            "use estimator='ggn', which needs no layer rules", TypeError)  # fmt: skip
    for name, layer in layers:
        if isinstance(layer, nn.Conv2d):
            plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
            require(plain, f"padding of layer {name}", layer.padding, "a number, with zeros", "use estimator='ggn'")
        if isinstance(layer, nn.AvgPool2d):
            plain = (
                not layer.ceil_mode
                and layer.divisor_override is None
                and (layer.count_include_pad or not layer.padding)
            )
            require(plain, f"layer {name}", layer, "an average over whole windows", "use estimator='ggn'")
    return layers


def _output_curvature(loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Diagonal of each row's own loss Hessian at the outputs, (rows, outputs)."""

    def of_one_row(out, target):
        return hessian(lambda o: loss(o[None], target[None]))(out).diagonal()

    return vmap(of_one_row)(outputs, targets)


def _parameter_curvature(prefix: str, layer, x: Tensor, curvature: Tensor) -> dict[str, Tensor]:
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        found = {"weight": curvature.T @ x**2}
        axes = (0,)
    else:  # a shared weight collects the curvature of every place that uses it, as in the paper's equation for h_kk
        found = {
            "weight": nn.grad.conv2d_weight(
                x**2, weight.shape, curvature, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        }
        axes = (0, 2, 3)
    if layer.bias is not None:
        found["bias"] = curvature.sum(axes)
    return {prefix + name: value for name, value in found.items()}


def _pull_back(layer: nn.Module, x: Tensor, curvature: Tensor) -> Tensor:
    """Curvature at the layer's input from the curvature at its output: the layer's squared Jacobian, transposed."""
    if isinstance(layer, nn.Linear):
        return curvature @ layer.weight.detach() ** 2
    if isinstance(layer, nn.Conv2d):
        squared = layer.weight.detach() ** 2
        return nn.grad.conv2d_input(
            x.shape, squared, curvature, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        out = layer(x.clone())
    if isinstance(layer, ELEMENTWISE):
        (slope,) = torch.autograd.grad(out, x, torch.ones_like(out))
        return slope**2 * curvature
    (routed,) = torch.autograd.grad(out, x, curvature)
    if isinstance(layer, nn.AvgPool2d):
        kernel = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
        return routed / (kernel[0] * kernel[1])
    return routed
