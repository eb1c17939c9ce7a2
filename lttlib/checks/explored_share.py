"""Check of the exercise on the share of weights that were live at least once, R_s of Liu et al. 2021, arXiv:2102.02887."""

import itertools

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.shares import share_equals


def _explored_cases(rng):
    """(masks,): one layer and several, of unequal sizes, a dense one, an empty one; masks that return, shrink, never move."""

    def moved(mask, share):
        """A copy of which some live places have moved elsewhere."""
        new = np.array(mask)
        live, dead = np.flatnonzero(mask), np.flatnonzero(~mask)
        k = min(int(share * len(live)), len(dead))
        new.flat[rng.permutation(live)[:k]] = False
        new.flat[rng.permutation(dead)[:k]] = True
        return new

    def course(shapes, densities, times, share):
        masks = {name: rng.random(shape) < d for (name, shape), d in zip(shapes.items(), densities, strict=True)}
        found = [masks]
        for _ in range(times):
            found.append({name: moved(mask, share) for name, mask in found[-1].items()})
        return found

    by_hand = [{"hidden": np.isin(np.arange(6), live)} for live in ([0, 1], [0, 2], [2, 3])]
    static = course({"hidden": (3, 4), "output": (2, 3)}, (0.4, 0.5), 0, 0.0)
    back = course({"hidden": (4, 6), "output": (3, 4)}, (0.3, 0.4), 3, 0.5)
    cases = [
        by_hand,
        static,
        static * 3,
        course({"hidden": (5, 4), "output": (2, 5)}, (0.3, 1.0), 2, 0.5),  # the output layer is dense
        course({"first": (6, 5), "second": (4, 6), "output": (2, 4)}, (0.2, 0.0, 0.5), 3, 0.4),
        back + back[::-1],
        [{"hidden": np.arange(20) < live} for live in (17, 9, 4)],  # gradual pruning: fewer and fewer
        course({"conv": (4, 2, 3, 3), "output": (5, 64)}, (0.5, 0.05), 6, 0.3),
        course({"first": (20, 30), "second": (10, 20), "output": (4, 10)}, (0.05, 0.1, 0.6), 10, 0.3),
    ]
    return [([{name: read_only(mask) for name, mask in masks.items()} for masks in case],) for case in cases]


def _total(masks):
    return sum(mask.size for mask in masks[0].values())


def _union(masks):
    return {name: np.any([np.asarray(m[name]) for m in masks], axis=0) for name in masks[0]}


def _live(masks):
    """Live places of the masks of one moment."""
    return sum(int(np.count_nonzero(mask)) for mask in masks.values())


def _reference(masks):
    return _live(_union(masks)) / _total(masks)


def _of_union(change):
    """change(union), with `of` the masks that count."""
    return lambda masks: change(_union(masks))


def _flips(masks):
    """Live places at the start, and every birth after it."""
    births = sum(int((new[name] & ~old[name]).sum()) for old, new in itertools.pairwise(masks) for name in new)
    return (_live(masks[0]) + births) / _total(masks)


def _without_dense(masks):
    names = [name for name, mask in masks[0].items() if not mask.all()]
    return _reference([{name: m[name] for name in names} for m in masks])


def _intersection(masks):
    every = [np.all([np.asarray(m[name]) for m in masks], axis=0) for name in masks[0]]
    return sum(int(mask.sum()) for mask in every) / _total(masks)


def _without(left, says):
    """The mistake of leaving moments out. Seen where there is more than one: else nothing is left, be that 0 or an error."""
    seen = returns(lambda masks: _live(_union(left(masks))) / _total(masks), says)
    return Mistake(says, lambda tried: seen.spotted([(case, value) for case, value in tried if len(case[0]) > 1]))


def _relation(case, value):
    (masks,) = case
    shown = "; ".join(f"step {t}: {numbers(moment)}" for t, moment in enumerate(masks[:3]))
    asked = f"For {len(masks)} moment{'s' * (len(masks) > 1)} ({shown if len(shown) < 240 else f'{_total(masks)} weights'}) you return {numbers(value)}. "
    if not 0 <= value <= 1:
        return f"{asked}Can a share be below 0 or above 1?"
    if value < _live(masks[-1]) / _total(masks) - 1e-9:
        return f"{asked}More than that lives at the last moment alone. When was a weight live at least once?"
    return (
        f"{asked}Go through the weights one by one: which of them were live at one moment or more, and out of how many?"
    )


check_explored_share = Exercise(
    "explored_share",
    _explored_cases,
    share_equals(_reference, _relation),
    "one moment to eleven, one layer to three, one dense or empty, masks that never move, that only shrink, that go and come back",
    (
        WRITTEN,
        returns(
            _intersection,
            "These were live all the time. Is a weight that lived for a while and died explored?",
        ),
        returns(
            lambda masks: np.mean([_live(m) for m in masks]) / _total(masks),
            "This is the average density, which never changes where masks keep their counts. Which weights were live at least once?",
        ),
        returns(
            lambda masks: _live(masks[-1]) / _total(masks),
            "This is the density of the last masks. What of weights that died before?",
        ),
        returns(
            lambda masks: _live(_union(masks[:1] + masks[-1:])) / _total(masks),
            "You look at the first and the last masks. What of a weight that grew and was dropped in between?",
        ),
        _without(
            lambda masks: masks[1:],
            "Right but for weights that were live at the start alone. Which moment do you leave out?",
        ),
        _without(
            lambda masks: masks[:-1],
            "Right but for weights that were live at the end alone. Which moment do you leave out?",
        ),
        returns(
            lambda masks: np.mean([mask.mean() for mask in _union(masks).values()]),
            "You average the shares of the layers. Does a layer of ten weights say as much as one of ten thousand?",
        ),
        returns(
            _flips,
            "A weight that dies and grows again counts twice here. Do you count events or places?",
        ),
        returns(
            lambda masks: _flips(masks) - _live(masks[0]) / _total(masks),
            "You count how often a weight grows. Do you count events or places, and what of those that lived from the start?",
        ),
        returns(
            lambda masks: _reference(masks) - _live(masks[0]) / _total(masks),
            "Weights that were live at the start do not count here. Were they live at least once?",
        ),
        returns(
            lambda masks: sum(_live(m) for m in masks) / _total(masks),
            "You add up the densities of all moments. How often does a weight count that lives all the time?",
        ),
        returns(
            _without_dense,
            "Layers that are dense from the start do not count here. What does the task say of them?",
        ),
        returns(
            lambda masks: _live(_union(masks)) / _live(masks[0]),
            "You divide by the live weights. Of which weights does the task want the share?",
        ),
        returns(
            lambda masks: 1 - _reference(masks),
            "These are the weights that were never live. Which ones does the task count?",
        ),
        returns(_of_union(_live), "This is a number of weights. Does the task ask for a number or a share?"),
        returns(lambda masks: 100 * _reference(masks), "This is in percent. Between which numbers does a share lie?"),
        returns(
            _of_union(lambda union: {name: mask.mean() for name, mask in union.items()}),
            "You return a share for each layer. The task asks for one number: of all weights together, how many were live?",
        ),
    ),
)
