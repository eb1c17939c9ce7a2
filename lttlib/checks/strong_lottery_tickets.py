"""Checks of the exercises of the chapter "Strong lottery tickets"."""

from lttlib.checks.best_subset import check_best_subset  # noqa: F401 - the first exercise
from lttlib.checks.diamond_error import check_diamond_error  # noqa: F401 - the third
from lttlib.checks.meet_in_the_middle import check_meet_in_the_middle  # noqa: F401 - the second
from lttlib.checks.worst_error import check_worst_error  # noqa: F401 - the fourth
