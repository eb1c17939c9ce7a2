"""Checks of the exercises of the chapter "Masks that move"."""

from lttlib.checks.erk_counts import check_erk_counts  # noqa: F401 - the third exercise
from lttlib.checks.exploration import check_explored_by_chance, check_most_explored  # noqa: F401 - the fourth and fifth
from lttlib.checks.explored_share import check_explored_share  # noqa: F401 - the second
from lttlib.checks.rigl_update import check_rigl_update  # noqa: F401 - the first
