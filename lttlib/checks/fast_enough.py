"""An exercise on n numbers whose answer must also be fast: trying all 2^n subsets is stopped in time.

Few numbers come first, and say whether the answer is right. Only then come more, and each call has a budget, so that an
answer that tries all 2^n subsets ends at 16 to 20 numbers, before it fills the memory or keeps the reader waiting.
"""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lttlib.checks.answers import Case, Exercise, Verdict

FEW = 12  # up to here trying all subsets is fast
TRACED = 20  # all 2^20 sums at once are 8 MB, those of the halves 16 kB
MOST_BYTES = 4_000_000
LAST = 24
SECONDS, SECONDS_TRACED, SECONDS_AT_LAST = 0.1, 0.5, 1.0  # of this thread; tracing alone makes a call slower


class TooMuch(BaseException):
    """A call took more time or memory than it has. No Exception: those count as the reader's own."""


def _within_budget(answer: Callable) -> Callable:
    def measured(values, target):
        traced = len(values) == TRACED and not tracemalloc.is_tracing()
        start = time.thread_time()
        if traced:
            tracemalloc.start()
        try:
            value = answer(values, target)
            peak = tracemalloc.get_traced_memory()[1] if traced else 0
        finally:
            if traced:
                tracemalloc.stop()
        if time.thread_time() - start > {TRACED: SECONDS_TRACED, LAST: SECONDS_AT_LAST}.get(len(values), SECONDS):
            raise TooMuch("time")
        if peak > MOST_BYTES:
            raise TooMuch("memory")
        return value

    return measured


_SAYS = {
    "time": "but with more numbers it takes too long, as if it looked at each of the 2^n sums. How many sums has a half of the "
    "numbers, and how do you find a partner for each of them without trying all?",
    "memory": f"but with {TRACED} numbers it needs room for about as many entries as there are subsets, 2^{TRACED}. How many sums "
    "has a half of the numbers, and does every pair of them have to be there at once?",
}


@dataclass(frozen=True)
class FastExercise(Exercise):
    """An exercise on n numbers whose answer must not only be right. more: cases of more than FEW numbers."""

    more: Callable[[np.random.Generator], Sequence[Case]] = tuple

    def _examine(self, answer: Callable) -> Verdict:
        verdict = super()._examine(answer)
        if verdict.status != "right":
            return verdict
        # No mistakes: some of them are known by trying all subsets.
        large = Exercise(self.name, self.more, self.judge, self.kinds)
        try:
            verdict = large._examine(_within_budget(answer))
        except TooMuch as limit:
            return Verdict("wrong", f"Right for up to {FEW} numbers, {_SAYS[str(limit)]}")
        tried = len(self.draw_cases()) + len(large.draw_cases())
        return Verdict("right", f"{tried} cases: {self.kinds}.") if verdict.status == "right" else verdict
