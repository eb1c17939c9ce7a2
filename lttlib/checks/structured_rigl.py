"""Checks of the exercises of the chapter "Structured RigL"."""

from lttlib.checks.condensed_layer import check_condensed_forward  # noqa: F401 - the third exercise
from lttlib.checks.fan_in_after_ablation import check_fan_in_after_ablation  # noqa: F401 - the first
from lttlib.checks.fold_ablated import check_fold_ablated  # noqa: F401 - the fourth
from lttlib.checks.salient_counts import check_salient_counts  # noqa: F401 - the second
