"""Mixture of experts: sparsity that depends on the input. One file per idea; the names that a reader needs are here."""

from lttlib.moe.collecting import collect_auxiliary, weighted
from lttlib.moe.layer import Auxiliary, Experts, MoELayer
from lttlib.moe.losses import at_balance, effective_experts, load_balance_loss, z_loss
from lttlib.moe.models import mixture_feed_forward, mixture_mlp
from lttlib.moe.routers import (
    CosineRouter,
    ExpertChoiceRouter,
    HashRouter,
    RandomRouter,
    TopKRouter,
    growing_k,
    random_table,
)
from lttlib.moe.routing import Dispatch, ExpertChoice, dispatch, expert_choice
from lttlib.moe.training import train_mixture

__all__ = [
    "Auxiliary",
    "CosineRouter",
    "Dispatch",
    "ExpertChoice",
    "ExpertChoiceRouter",
    "Experts",
    "HashRouter",
    "MoELayer",
    "RandomRouter",
    "TopKRouter",
    "at_balance",
    "collect_auxiliary",
    "dispatch",
    "effective_experts",
    "expert_choice",
    "growing_k",
    "load_balance_loss",
    "mixture_feed_forward",
    "mixture_mlp",
    "random_table",
    "train_mixture",
    "weighted",
    "z_loss",
]
