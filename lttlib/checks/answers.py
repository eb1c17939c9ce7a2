"""How a check answers: it tries the reader's function on random cases and says what it found, in words.

Right: how many cases, of what kinds. Wrong: the smallest failing case, the reader's own value, the relation it breaks and
one question; a classic mistake is called by its name. Never the answer, never a traceback. The same cases every time.
"""

import copy
import html
import os
import re
import sysconfig
import traceback
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Case = tuple  # the arguments of one call
Tried = Sequence[tuple[Case, Any]]  # cases with the reader's values
GRADERS = ("autograde", "validate")  # what nbgrader sets NBGRADER_EXECUTION to


@dataclass(frozen=True)
class Mistake:
    """A classic wrong answer: how it shows, and what to tell its author."""

    says: str
    spotted: Callable[[Tried], bool]


@dataclass(frozen=True)
class Verdict:
    """What a check found. status: "right", "wrong", "error" or "not attempted yet"."""

    status: str
    text: str

    def __repr__(self) -> str:
        return f"{self.status}: {self.text}"

    def _repr_html_(self) -> str:
        mark = {"right": "✓", "wrong": "✗", "error": "!", "not attempted yet": "…"}[self.status]
        kind = self.status.split()[0]
        return f'<div class="verdict verdict-{kind}"><strong>{mark} {self.status}</strong><br>{html.escape(self.text)}</div>'


@dataclass(frozen=True)
class Exercise:
    """One exercise. Call it with the reader's function to get a Verdict.

    cases: generator to argument tuples, smallest first. judge: (case, value) to None if right, else one or two sentences
    that hold the reader's value, the relation it breaks and a question. kinds: what the cases cover.
    """

    name: str
    cases: Callable[[np.random.Generator], Sequence[Case]]
    judge: Callable[[Case, Any], str | None]
    kinds: str
    mistakes: tuple[Mistake, ...] = ()

    def __call__(self, answer: Callable) -> Verdict:
        """Try the reader's function. Under a grader (nbgrader) anything but right raises, so points are lost."""
        with warnings.catch_warnings(action="ignore"):  # nbgrader gives no points to a cell that writes to stderr
            verdict = self._examine(answer)
        if verdict.status != "right" and os.environ.get("NBGRADER_EXECUTION") in GRADERS:
            raise AssertionError(repr(verdict))
        return verdict

    def draw_cases(self) -> Sequence[Case]:
        """The cases that every call tries: the same each time."""
        return self.cases(np.random.default_rng(zlib.crc32(self.name.encode())))

    def _examine(self, answer: Callable) -> Verdict:
        if not callable(answer):
            return Verdict("error", f"{self.name} must be a function, this is {_short(answer)}. Did you call it?")
        cases = self.draw_cases()
        tried, misconduct, first_problem = [], None, None
        for case in cases:
            given = copy.deepcopy(case)
            try:
                value = answer(*given)
            except (Exception, SystemExit) as error:  # whatever the reader's code raises is an answer to explain
                return self._stub() if _is_stub(error) else self._explain_error(case, tried, error)
            if value is ...:
                return self._stub()
            if value is None:
                return Verdict("wrong", f"{self.name} returned None. Is there a `return` at its end?")
            misconduct = misconduct or _changed_arguments(case, given) or _unused_generator(case, given)
            first_problem = first_problem or self.problem(case, value)
            tried.append((case, value))
        if misconduct:  # first of all: the values may be wrong for no other reason
            return Verdict("wrong", misconduct)
        if first_problem:
            return Verdict("wrong", self._recognized(tried) or first_problem)
        return Verdict("right", f"{len(cases)} cases: {self.kinds}.")

    def _stub(self) -> Verdict:
        return Verdict("not attempted yet", f"Fill in {self.name} and run this cell again.")

    def problem(self, case: Case, value) -> str | None:
        """What is wrong with a value, in words; None if it is right."""
        try:
            return self.judge(case, value)
        except Exception:  # a value of an unforeseen kind: the reader gets words, not our traceback
            return f"The value is {_short(value)}, of type {type(value).__name__}. Does the task ask for something of this kind?"

    def _recognized(self, tried: Tried) -> str | None:
        for mistake in self.mistakes:
            try:
                if mistake.spotted(tried):
                    return mistake.says
            except Exception:  # the value has another kind than this mistake's: it is not this mistake
                continue
        return None

    def _explain_error(self, case: Case, tried: Tried, error: Exception) -> Verdict:
        says = self._recognized([*tried, (case, error)])
        what = _without_addresses(": ".join([type(error).__name__, *str(error).splitlines()[:1]])).rstrip(".")
        return Verdict("error", f"{_line_of(error)}{what}. {says or f'It happened for {_arguments(case)}.'}")


def equals(reference: Callable, relation: Callable[[Case, Any], str], tolerance: float = 1e-5):
    """A judge that compares with a reference, up to a relative tolerance; relation says in words what is broken."""

    def judge(case: Case, value) -> str | None:
        expected = reference(*copy.deepcopy(case))
        if same(value, expected, tolerance):
            return None
        return _other_shape(value, expected) or relation(case, value)

    return judge


def _other_shape(value, expected) -> str | None:
    """Numbers of another shape: say so before talking about the numbers."""
    if not isinstance(expected, Tensor | float) or not isinstance(value, Tensor | float | int):
        return None
    found, wanted = (tuple(v.shape) if isinstance(v, Tensor) else () for v in (value, expected))
    if found == wanted:
        return None
    named = [f"shape {shape}" if shape else "a single number" for shape in (found, wanted)]
    return f"You return {named[0]}; the task asks for {named[1]}. Which step of yours adds or removes an axis?"


def returns(wrong: Callable, says: str, tolerance: float = 1e-5) -> Mistake:
    """The mistake of computing `wrong`: it is recognized where every value equals wrong(*case)."""

    def agrees(case: Case, value) -> bool:
        try:
            expected = wrong(*copy.deepcopy(case))
        except Exception:  # the mistake fails on this case; so must the reader's function
            return isinstance(value, Exception)
        return not isinstance(value, Exception) and same(value, expected, tolerance)

    def spotted(tried: Tried) -> bool:
        return all(agrees(case, value) for case, value in tried)

    return Mistake(says, spotted)


def same(value, expected, tolerance: float = 1e-5) -> bool:
    """Equal structure, shape and numbers up to a tolerance relative to the largest expected number; bools exactly."""
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[k], expected[k], tolerance) for k in expected)
        )
    if isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(same(v, e, tolerance) for v, e in zip(value, expected, strict=True))
    if isinstance(expected, Tensor) and expected.dtype == torch.bool:
        return isinstance(value, Tensor) and value.dtype == torch.bool and torch.equal(value, expected)
    # torch takes no flipped view
    value, expected = (v.copy() if isinstance(v, np.ndarray) else v for v in (value, expected))
    if torch.as_tensor(value).is_complex():
        return False
    found, wanted = (torch.as_tensor(v, dtype=torch.float64) for v in (value, expected))
    if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
        return False
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    return bool((found - wanted).abs().le(tolerance * scale + 1e-12).all())


def tensor(values) -> Tensor:
    """A float64 tensor of random values, for cases: rounding never decides a verdict."""
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def numbers(value) -> str:
    """A number, a small tensor or a dict of them as a reader would write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {numbers(part)}" for key, part in value.items()) + "}"
    if isinstance(value, Tensor):
        if value.is_floating_point():
            value = value.detach().double().mul(1e4).round().div(1e4)
        return _short((value.int() if value.dtype == torch.bool else value).tolist())
    return f"{value:.6g}" if isinstance(value, float) else _short(value)


def _short(value) -> str:
    if isinstance(value, torch.Generator):
        return "generator"
    try:
        text = _without_addresses(" ".join(repr(value).split()))
    except Exception:  # a class of the reader's whose repr fails
        text = f"a {type(value).__name__}"
    return text if len(text) < 100 else text[:97] + "..."


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # they change from run to run


def _arguments(case: Case) -> str:
    return "the arguments " + ", ".join(numbers(argument) for argument in case)


def _is_stub(error: BaseException) -> bool:
    """The NotImplementedError of an untouched stub; torch raises its own, with words, where a dtype is not supported."""
    return isinstance(error, NotImplementedError) and not error.args


def _changed_arguments(case: Case, given: Case) -> str | None:
    changed = (_changed(before, after) for before, after in zip(case, given, strict=True))
    if any(changed):
        return "Your function changed one of its arguments in place. Which line writes into something that the caller still needs?"
    return None


def _changed(before, after) -> bool:
    if isinstance(before, dict):
        return before.keys() != after.keys() or any(_changed(before[key], after[key]) for key in before)
    if isinstance(before, list):
        return len(before) != len(after) or any(map(_changed, before, after))
    if isinstance(before, np.ndarray):
        return not (
            isinstance(after, np.ndarray) and before.dtype == after.dtype and before.tobytes() == after.tobytes()
        )
    if not isinstance(before, Tensor):
        return False
    return not (isinstance(after, Tensor) and before.dtype == after.dtype and torch.equal(before, after))


def _unused_generator(case: Case, given: Case) -> str | None:
    """Values that owe nothing to the generator: another source of randomness, or none."""
    for before, after in zip(case, given, strict=True):
        if isinstance(before, torch.Generator) and torch.equal(before.get_state(), after.get_state()):
            return "Your function never draws from `generator`. Where do its random numbers come from, and would a second run give the same?"
    return None


def _line_of(error: BaseException) -> str:
    """Where in the reader's own code the error arose: its line number in the cell and its text."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    libraries = (here, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
    own = [f for f in traceback.extract_tb(error.__traceback__) if f.line and not f.filename.startswith(libraries)]
    return f"Line {own[-1].lineno} of your cell, `{own[-1].line}`: " if own else ""
