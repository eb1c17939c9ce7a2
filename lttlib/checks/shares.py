"""How a check judges an answer that is a share: one number, also as a fraction."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np

from lttlib.checks.answers import Case
from lttlib.checks.arrays import array_equals


def share_equals(reference: Callable[..., float], relation: Callable[[Case, float], str]) -> Callable:
    """A judge that compares with a reference; relation says in words what is broken."""
    judge = array_equals(
        lambda *case: np.float64(reference(*case)), lambda case, value, _: relation(case, float(value))
    )
    return lambda case, value: judge(case, float(value) if isinstance(value, Fraction | Decimal) else value)
