"""Means over seeds with confidence intervals, and paired differences."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lttlib.arguments import require


class Interval(NamedTuple):
    """Mean with the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    def shown(self, digits: int = 3) -> str:
        """Text for a page, such as '0.948 ± 0.014'; the half width of the interval stands after ±."""
        return f"{self.mean:.{digits}f} ± {(self.high - self.low) / 2:.{digits}f}"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean over seeds with Student's t interval: mean ± t * sd / sqrt(n), with n - 1 degrees of freedom.

    values: one number per seed, at least 2. The interval speaks of the mean over seeds, not of single runs.
    """
    x = np.asarray(values, dtype=float)
    require(0 < confidence < 1, "confidence", confidence, "a number in (0, 1)", "95% is 0.95")
    require(x.ndim == 1 and x.size >= 2, "values", f"array of shape {x.shape}", "two or more numbers", "run more seeds")
    require(
        bool(np.isfinite(x).all()), "values", "array with NaN or infinity", "finite numbers", "look at the failed runs"
    )
    half = stats.t.ppf((1 + confidence) / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size)
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Interval of the mean of a - b, where entry i of both comes from the same seed, data order and test set."""
    require(len(a) == len(b), "b", f"{len(b)} values", f"{len(a)}, one per seed of a", "pair the runs by seed")
    return mean_interval(np.subtract(a, b), confidence)
