"""Checks of the exercises of the chapter "Mixture of experts"."""

from lttlib.checks.balance_loss import check_balance_loss  # noqa: F401 - the first exercise
from lttlib.checks.mixture_output import check_mixture  # noqa: F401 - the third
from lttlib.checks.router_gradient import check_router_gradient  # noqa: F401 - the fourth
from lttlib.checks.who_fits import check_who_fits  # noqa: F401 - the second
