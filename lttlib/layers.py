"""Torch modules over the kernels: layers and networks that keep and compute live weights only.

Lasby et al. 2023, arXiv:2305.02299. Chapters "What makes sparsity fast" and "Structured RigL".
"""

import numpy as np
import torch
from lttkernels.condensed import Condensed, condense, condensed_grad_input, condensed_grad_values, condensed_linear
from lttkernels.condensed_cuda import to_device
from lttkernels.threads import set_threads
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lttlib.arguments import require, require_mask


class CondensedLinear(nn.Module):
    """A Linear of which only live weights exist: k in each of the n surviving neurons (constant fan-in).

    Parameters: values (n, k) and bias (out,), float32; neurons without live weights keep their bias. Buffers: indices
    (n, k), the inputs of each neuron, and rows (n,), the neurons that survive. With transposed=True it maps
    (in, batch) to (out, batch), the layout to keep between sparse layers; else (..., in) to (..., out).
    The kernels use as many threads as torch. Under torch.no_grad() the values are packed once and kept until torch
    counts a change of them (a step of the optimizer, loading a state; not one through .data); with gradients they are packed
    at every call, so run inference under torch.no_grad().
    """

    def __init__(self, condensed: Condensed, bias: Tensor | None = None, *, transposed: bool = False):
        super().__init__()
        self.out_features, self.in_features = condensed.shape
        self.transposed = transposed
        self.values = nn.Parameter(torch.from_numpy(condensed.values.copy()))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.register_buffer("indices", torch.from_numpy(condensed.indices.copy()))
        self.register_buffer("rows", torch.from_numpy(condensed.rows.copy()))
        self._packed, self._packed_of = condensed, None

    @classmethod
    def from_linear(cls, linear: nn.Linear, mask: Tensor, *, transposed: bool = False) -> "CondensedLinear":
        """The layer linear with weights under mask (out, in), bool, True = live, with constant fan-in."""
        require_mask(mask, linear.weight.shape)
        weight = linear.weight.detach()
        require(weight.dtype == torch.float32, "linear.weight.dtype", weight.dtype, "torch.float32", "use linear.float()",
                TypeError)  # fmt: skip
        condensed = condense(weight.cpu().contiguous().numpy(), mask.cpu().contiguous().numpy())
        bias = None if linear.bias is None else linear.bias.cpu()
        return cls(condensed, bias, transposed=transposed).to(weight.device)

    def condensed(self) -> Condensed:
        """The layer as the kernels take it; it shares the parameters' memory."""
        pattern = (self.indices._version, self.rows._version, self.indices.data_ptr())
        values = (self.values._version, self.values.data_ptr())
        learning = torch.is_grad_enabled() and self.values.requires_grad
        if self._packed_of == (pattern, values) and not learning:
            return self._packed
        if self._packed_of is not None and self._packed_of[0] == pattern:
            self._packed = self._packed.with_values(_array(self.values))
        else:
            shape = (self.out_features, self.in_features)
            parts = (part.detach().cpu().numpy() for part in (self.values, self.indices, self.rows))
            self._packed = Condensed(*parts, shape)
            if self.values.is_cuda:
                self._packed = to_device(self._packed).with_values(_array(self.values))
        self._packed_of = (pattern, values)
        return self._packed

    def dense_weight(self) -> Tensor:
        """The weight (out, in) with its zeros, for inspection: a copy."""
        weight = self.values.new_zeros(self.out_features, self.in_features)
        weight[self.rows.long()[:, None], self.indices.long()] = self.values.detach()
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), or (in, batch) to (out, batch) if transposed; float32."""
        width = x.shape[0] if self.transposed else x.shape[-1]
        fits = width == self.in_features and (x.dim() == 2 or not self.transposed)
        expected = f"({self.in_features}, batch)" if self.transposed else f"(..., {self.in_features})"
        require(fits, "x.shape", tuple(x.shape), expected, "transposed=True takes features first")
        require(x.dtype == torch.float32, "x.dtype", x.dtype, "torch.float32", "use x.float()", TypeError)
        flat = x if self.transposed else x.reshape(-1, width)
        y = _CondensedProduct.apply(flat, self.values, self.bias, self.condensed(), self.transposed)
        return y if self.transposed else y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """What print shows."""
        n, k = self.values.shape
        return f"in_features={self.in_features}, out_features={self.out_features}, neurons={n}, fan_in={k}"


class _CondensedProduct(torch.autograd.Function):
    """The kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx, x, values, bias, condensed, transposed):
        set_threads(torch.get_num_threads())
        x = x.contiguous()
        ctx.save_for_backward(x, values)  # torch then complains if values change before backward
        ctx.condensed, ctx.transposed = condensed, transposed
        offset = None if bias is None else _array(bias)
        return torch.as_tensor(condensed_linear(_array(x), condensed, offset, transposed=transposed))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        set_threads(torch.get_num_threads())
        grad = grad.contiguous()
        by_x = by_values = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = condensed_grad_input(_array(grad), ctx.condensed, transposed=ctx.transposed)
            by_x = torch.as_tensor(by_x)
        if ctx.needs_input_grad[1]:
            found = condensed_grad_values(_array(x), _array(grad), ctx.condensed, transposed=ctx.transposed)
            by_values = torch.as_tensor(found)
        if ctx.needs_input_grad[2]:
            by_bias = grad.sum(1 if ctx.transposed else 0)
        return by_x, by_values, by_bias, None, None


def _array(tensor: Tensor) -> np.ndarray | Tensor:
    """The tensor's memory as the kernels take it, no copy: a numpy array, or on a GPU the tensor itself."""
    return tensor.detach() if tensor.is_cuda else tensor.detach().numpy()
