"""Checks of the exercises of the chapter "The tangent kernel of a pruned network"."""

from lttlib.checks.kernel_by_hand import check_kernel_by_hand  # noqa: F401 - the first exercise
from lttlib.checks.layer_factors import check_layer_factors  # noqa: F401 - the third
from lttlib.checks.pruned_kernel import check_pruned_kernel  # noqa: F401 - the second
from lttlib.checks.relu_step import check_relu_step  # noqa: F401 - the fourth
