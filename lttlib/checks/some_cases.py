"""Classic mistakes that take one form in some cases and many in others: looked for where they take the one."""

from collections.abc import Callable

from lttlib.checks.answers import Mistake, returns


def returns_where(holds: Callable[..., bool], wrong: Callable, says: str) -> Mistake:
    """The mistake of computing `wrong`: recognized if every value equals wrong(*case) in the cases where holds(*case)."""
    seen = returns(wrong, says)

    def spotted(tried):
        some = [(case, value) for case, value in tried if holds(*case)]
        return bool(some) and seen.spotted(some)

    return Mistake(says, spotted)
