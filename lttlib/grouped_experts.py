"""The feed-forward of a mixture of experts, every kept pair computed once, with kernels for all that is not a product.

    y[t] = sum over s of gates[t, s] * (activation(x[t] w1[e] + b1[e]) w2[e] + b2[e]),   e = chosen[t, s]

Tokens are sorted by expert, each expert multiplies its rows, each token gathers its answers. The products are torch's: of
the BLAS libraries at hand its own was the fastest at these shapes. They take some 200 rows at a time, so that what is
between them is still in the cache when the activation and the second product want it.
Sorted, dropless experts: Gale et al. 2022, arXiv:2211.15841. Book: "Mixture of experts".
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from lttkernels.activations import ACTIVATIONS, activate, activate_gradient, write_activated
from lttkernels.grouped import gate_gradients, permute, sort_by_expert, unpermute
from lttkernels.memory import scratch
from lttkernels.threads import set_threads
from torch import Tensor
from torch.autograd.function import once_differentiable

from lttlib.arguments import require, require_choice
from lttlib.moe import Dispatch, ExpertChoice, Experts

NAMES = {F.gelu: "gelu", F.relu: "relu"}
ROWS = 192  # of an expert at a time, for each thread: their hidden units and the expert's weights fill a 2 MB cache


def grouped_experts(
    x: Tensor, chosen: Tensor, gates: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "gelu"
) -> Tensor:  # fmt: skip
    """x (T, d) through the experts chosen (T, k), int64 or int32, weighted by gates (T, k): (T, outputs).

    An entry -1 of chosen is a dropped pair, which adds exactly 0 and has no gradient. w1: (E, d, f), b1: (E, f), w2:
    (E, f, outputs), b2: (E, outputs). All but chosen float32, on a processor. activation: "gelu" (not the tanh formula)
    or "relu". Differentiable once by all but chosen. Raises TypeError or ValueError for another dtype, shape or range.
    """
    shared = {"x": x, "gates": gates, "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    _require(shared, chosen)
    require_choice(activation, ACTIVATIONS, "activation")
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in shared.values())
    return _GroupedExperts.apply(*shared.values(), chosen, activation, training)


def mix_grouped(x: Tensor, routing: Dispatch | ExpertChoice, experts: Experts) -> Tensor:
    """moe.layer.mix_by_loop by these kernels, for MoELayer(mix=mix_grouped): x (T, features) to (T, outputs).

    float32 on a processor; the activation of the experts is F.relu or F.gelu.
    """
    require(isinstance(experts, Experts), "experts", type(experts).__name__, "lttlib.moe.Experts", "use mix_by_loop")
    name = NAMES.get(experts.activation)
    require(name is not None, "experts.activation", experts.activation, "F.relu or F.gelu", "use mix_by_loop")
    chosen, gates = _slots(routing, len(x))
    return grouped_experts(x, chosen, gates, experts.w1, experts.b1, experts.w2, experts.b2, name)


def _slots(routing: Dispatch | ExpertChoice, total: int) -> tuple[Tensor, Tensor]:
    """(chosen, gates), both (T, k), chosen -1 where there is no pair. By expert choice k is the most a token got."""
    if isinstance(routing, Dispatch):
        return routing.chosen.masked_fill(~routing.kept, -1), routing.gates
    tokens, gates, counts = routing.pairs()
    experts = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    got = torch.bincount(tokens, minlength=total)
    order, first = tokens.argsort(stable=True), got.cumsum(0) - got
    slot = torch.empty_like(tokens)
    slot[order] = torch.arange(len(tokens), device=tokens.device) - first[tokens[order]]
    k = max(1, int(got.max()))
    chosen = torch.full((total, k), -1, device=tokens.device).index_put((tokens, slot), experts)
    return chosen, gates.new_zeros(total, k).index_put((tokens, slot), gates)


def _require(shared: dict[str, Tensor], chosen: Tensor) -> None:
    for name, tensor in shared.items():
        require(
            tensor.dtype == torch.float32, f"{name}.dtype", tensor.dtype, "torch.float32", "use .float()", TypeError
        )
    require(chosen.dtype in (torch.int64, torch.int32), "chosen.dtype", chosen.dtype, "torch.int64 or torch.int32",
            "use .long()", TypeError)  # fmt: skip
    for name, tensor in {**shared, "chosen": chosen}.items():
        require(not tensor.is_cuda, f"{name}.device", tensor.device, "cpu",
                "on a GPU lttkernels.grouped sorts and permutes; the products are yours")  # fmt: skip
    x, w1, w2 = shared["x"], shared["w1"], shared["w2"]
    require(x.dim() == 2, "x.shape", tuple(x.shape), "(tokens, features)", "reshape it: x.flatten(0, -2)")
    require(chosen.dim() == 2 and len(chosen) == len(x) and chosen.shape[1] >= 1, "chosen.shape", tuple(chosen.shape),
            f"({len(x)}, k)", "k experts for each token")  # fmt: skip
    require(w1.dim() == 3 and len(w1) >= 1, "w1.shape", tuple(w1.shape), "(experts, features, hidden)", "stack them")
    require(w2.dim() == 3, "w2.shape", tuple(w2.shape), "(experts, hidden, outputs)", "stack them")
    experts, _, hidden = w1.shape
    wanted = {"gates": tuple(chosen.shape), "w1": (experts, x.shape[1], hidden), "b1": (experts, hidden),
              "w2": (experts, hidden, w2.shape[2]), "b2": (experts, w2.shape[2])}  # fmt: skip
    for name, shape in wanted.items():
        require(shared[name].shape == shape, f"{name}.shape", tuple(shared[name].shape), str(shape),
                "x (T, d), w1 (E, d, f), b1 (E, f), w2 (E, f, o), b2 (E, o)")  # fmt: skip


def chunks(offsets: np.ndarray, most: int) -> Iterator[tuple[int, int, int]]:
    """(expert, first row, end) of pieces of at most `most` rows, those of an expert of about the same size."""
    for expert, (first, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        parts = -(-(end - first) // most)
        for part in range(parts):
            yield expert, first + (end - first) * part // parts, first + (end - first) * (part + 1) // parts


def _room(name: str, rows: int, columns: int) -> Tensor:
    """(rows, columns), uninitialized, in memory that the next call of this thread uses again."""
    return torch.from_numpy(scratch(f"grouped experts, {name}", rows * columns).reshape(rows, columns))


def _rows_of(first: int, end: int, threads: int) -> slice:
    """first to end, and up to threads - 1 more, so that every thread has the same number.

    What is in those is of no use and does no harm: the next chunk writes them again, and nobody reads past the last one.
    """
    return slice(first, first + -(-(end - first) // threads) * threads)


def _product(left: Tensor, right: Tensor, threads: int, out: Tensor, bias: Tensor | None = None) -> None:
    """out = left @ right + bias, rows in equal shares to the threads: a BLAS that shares one such product out is slower."""
    if threads == 1:
        torch.mm(left, right, out=out) if bias is None else torch.addmm(bias, left, right, out=out)
        return
    left, out = left.view(threads, -1, left.shape[1]), out.view(threads, -1, out.shape[1])
    right = right.expand(threads, -1, -1)
    torch.bmm(left, right, out=out) if bias is None else torch.baddbmm(bias, left, right, out=out)


class _GroupedExperts(torch.autograd.Function):
    """training: keep what the way back needs."""

    @staticmethod
    def forward(ctx, x, gates, w1, b1, w2, b2, chosen, activation, training):
        threads, slots = torch.get_num_threads(), chosen.shape[1]
        set_threads(threads)
        x, gates, b1 = (tensor.detach().contiguous() for tensor in (x, gates, b1))
        pairs = sort_by_expert(chosen.contiguous().numpy(), len(w1))
        kept, most = len(pairs.order), ROWS * threads
        new = (lambda name, rows, columns: x.new_empty(rows, columns)) if training else _room
        x_sorted, y_sorted = (
            new(name, kept + threads, columns) for name, columns in (("x", x.shape[1]), ("y", w2.shape[2]))
        )
        hidden = new("hidden", (kept if training else most) + threads, w1.shape[2])
        active = _room("active", most, w1.shape[2]) if training else hidden
        permute(x.numpy(), pairs.order, slots, out=x_sorted.numpy()[:kept])
        up, down, offsets = w1.detach().unbind(), w2.detach().unbind(), b2.detach().unbind()
        hidden_array, active_array, bias = hidden.numpy(), active.numpy(), b1.numpy()
        for expert, first, end in chunks(pairs.offsets, most):
            rows = _rows_of(first, end, threads)
            here = slice(rows.stop - rows.start)
            between = rows if training else here
            _product(x_sorted[rows], up[expert], threads, hidden[between])
            h, target = hidden_array[between], active_array[here]
            write_activated(h, bias[expert], h, activation == "gelu", False, not training, target)
            _product(active[here], down[expert], threads, y_sorted[rows], offsets[expert])
        x_sorted, y_sorted, hidden = (tensor[:kept] for tensor in (x_sorted, y_sorted, hidden))
        if training:
            ctx.save_for_backward(x_sorted, hidden, y_sorted, gates, w1, b1, w2)
            ctx.pairs, ctx.activation = pairs, activation
        return torch.from_numpy(unpermute(y_sorted.numpy(), pairs.inverse, gates.numpy()))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        threads = torch.get_num_threads()
        set_threads(threads)
        x_sorted, hidden, y_sorted, gates, w1, b1, w2 = ctx.saved_tensors
        (order, offsets, inverse), grad, kept = ctx.pairs, grad.contiguous(), len(ctx.pairs.order)
        filled_up, by_offset = x_sorted.new_empty(kept + threads, x_sorted.shape[1]), w2[:, 0]
        like = (filled_up, gates, w1, b1, w2, by_offset)
        by_x, by_gates, by_w1, by_b1, by_w2, by_b2 = (
            torch.empty_like(tensor) if wanted else None
            for tensor, wanted in zip(like, ctx.needs_input_grad, strict=False)
        )
        by_y, largest = _room("gradient of y", kept + threads, grad.shape[1]), int(np.diff(offsets).max()) + threads
        permute(grad.numpy(), order, inverse.shape[1], gates.numpy(), out=by_y.numpy()[:kept])
        for expert, first, end in chunks(offsets, largest):
            rows, bias, count = _rows_of(first, end, threads), b1[expert].numpy(), end - first
            active, by_h = (_room(name, largest, w1.shape[2]) for name in ("active", "gradient of hidden"))
            h = hidden[first:end].numpy()
            if by_w2 is not None:
                activate(h, bias, ctx.activation, out=active[:count].numpy())
                torch.mm(active[:count].T, by_y[first:end], out=by_w2[expert])
            if by_b2 is not None:
                torch.sum(by_y[first:end], 0, out=by_b2[expert])
            _product(by_y[rows], w2[expert].T, threads, by_h[: rows.stop - first])
            activate_gradient(h, bias, by_h[:count].numpy(), ctx.activation)
            if by_w1 is not None:
                torch.mm(x_sorted[first:end].T, by_h[:count], out=by_w1[expert])
            if by_b1 is not None:
                torch.sum(by_h[:count], 0, out=by_b1[expert])
            if by_x is not None:
                _product(by_h[: rows.stop - first], w1[expert].T, threads, by_x[rows])
        for expert in np.flatnonzero(np.diff(offsets) == 0):
            for by_weight in (by_w1, by_b1, by_w2, by_b2):
                if by_weight is not None:
                    by_weight[expert] = 0
        if by_x is not None:
            by_x = torch.from_numpy(unpermute(by_x[:kept].numpy(), inverse))
        if by_gates is not None:
            gate_gradients(grad.numpy(), y_sorted.numpy(), inverse, out=by_gates.numpy())
        return by_x, by_gates, by_w1, by_b1, by_w2, by_b2, None, None, None
