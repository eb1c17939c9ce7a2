"""How auxiliary losses travel out of a model whose blocks return one tensor, and token ids into it. No globals.

::

    with collect_auxiliary(model) as found:
        logits = model(x)
    loss = cross_entropy(logits, y) + weighted(found, balance=0.01, z=0.001)

Book: "Mixture of experts".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lttlib.arguments import require
from lttlib.moe.layer import Auxiliary, MoELayer


@contextmanager
def collect_auxiliary(model: nn.Module, *, ids: Tensor | None = None) -> Iterator[list[Auxiliary]]:
    """Within it, what every MoELayer of model returns beside its output is appended to the list, in order of the calls.

    ids: token numbers that every MoELayer is given, for hash routers deep inside a transformer. Nothing is kept in the
    model; after it, the model is as before, also if there was an error.
    """
    found: list[Auxiliary] = []
    hooks = []
    for layer in model.modules():
        if isinstance(layer, MoELayer):
            hooks.append(layer.register_forward_hook(lambda _layer, _inputs, output: found.append(output[1])))
            if ids is not None:
                give = lambda _layer, inputs, named: (inputs, named | {"ids": ids})  # noqa: E731
                hooks.append(layer.register_forward_pre_hook(give, with_kwargs=True))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def weighted(found: Sequence[Auxiliary], *, balance: float, z: float = 0.0) -> Tensor:
    """balance * the mean balance loss over the layers + z * their mean z-loss, a scalar. Usual: .01 and .001."""
    require(len(found) > 0, "found", "[]", "what one MoELayer returned at least",
            "call the model inside collect_auxiliary, and pass the list after it")  # fmt: skip
    balances, zs = (torch.stack([getattr(one, name) for one in found]) for name in ("balance", "z"))
    return balance * balances.mean() + z * zs.mean()
