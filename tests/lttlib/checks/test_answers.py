"""The machinery of the checks: whatever a reader hands in, the answer is in words, the same each time, and no traceback."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from every_check import CHECKS

from lttlib.checks.answers import Exercise, Mistake, Verdict, equals, numbers, returns, same, tensor


def half_cases(rng):
    return [(tensor([2.0]),), (tensor(rng.normal(size=3)),)]


def half_relation(case, value):
    return f"For {numbers(case[0])} you return {numbers(value)}. What is half of it?"


half = Exercise(
    "half",
    half_cases,
    equals(lambda x: x / 2, half_relation),
    "one number and three",
    (returns(lambda x: x * 2, "Twice as much. Which way?"),),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("not_a_function", [3, None, "saliency", torch.zeros(2), ...])
def test_what_is_no_function_is_told_so(check, not_a_function):
    verdict = check(not_a_function)
    assert (verdict.status, "must be a function" in verdict.text) == ("error", True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_function_of_other_arguments_is_an_error_in_words(check):
    verdict = check(lambda: 1)
    assert verdict.status == "error"
    assert "TypeError" in verdict.text and "positional argument" in verdict.text


def raises_stub(*arguments):
    raise NotImplementedError


def calls_stub(*arguments):
    raise NotImplementedError()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("stub", [raises_stub, calls_stub, lambda *arguments: ...])
def test_an_untouched_stub_is_not_attempted_yet(check, stub):
    verdict = check(stub)
    assert verdict == Verdict("not attempted yet", f"Fill in {check.name} and run this cell again.")


def test_torch_that_does_not_implement_a_dtype_is_no_stub():
    verdict = half(lambda x: (x > 0)[None] @ (x > 0)[None].T)
    assert verdict.status == "error"
    assert "not implemented for 'Bool'" in verdict.text


def test_none_asks_for_a_return():
    assert half(lambda x: None) == Verdict("wrong", "half returned None. Is there a `return` at its end?")


def fails_here(x):
    y = x / 2
    return y.no_such_method()  # the line that the reader must see


def fails_in_torch(x):
    return torch.nn.functional.linear(x, torch.zeros(5, 5, dtype=x.dtype))


def fails_in_the_standard_library(x):
    return json.loads("{")


def leaves(x):
    raise SystemExit(3)


@pytest.mark.parametrize(
    "answer, line, error",
    [
        (fails_here, "return y.no_such_method()", "AttributeError: 'Tensor' object has no attribute"),
        (fails_in_torch, "return torch.nn.functional.linear(x,", "RuntimeError"),
        (fails_in_the_standard_library, 'return json.loads("{")', "JSONDecodeError: Expecting property name"),
        (leaves, "raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_exception_is_named_with_the_readers_own_line(answer, line, error):
    verdict = half(answer)
    number = next(
        n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.strip().startswith(line)
    )
    assert verdict.status == "error"
    assert verdict.text.startswith(f"Line {number} of your cell, `{line}")
    assert error in verdict.text and "\n" not in verdict.text


def test_an_exception_names_the_case_and_no_address():
    def fails(x):
        raise ValueError(f"bad {object()}")

    assert half(fails).text.endswith("ValueError: bad <object object>. It happened for the arguments [2.0].")


def test_a_mistake_that_fails_is_recognized_by_its_failure():
    exercise = Exercise("e", half_cases, half.judge, "", (returns(lambda x: x.reshape(2), "Why two entries?"),))
    assert exercise(lambda x: x.reshape(2)).text.endswith("Why two entries?")


def writes(x):
    return x.div_(2)


def writes_and_is_wrong(x):
    return x.mul_(2)


def resizes(x):
    half = x.clone() / 2
    x.resize_(0)
    return half


@pytest.mark.parametrize("answer", [writes, writes_and_is_wrong, resizes])
def test_a_changed_argument_is_said_before_all_else(answer):
    assert (half(answer).status, "in place" in half(answer).text) == ("wrong", True)


def test_changes_within_a_dict_of_tensors_are_seen():
    def cases(rng):
        return [({"w": tensor([1.0])},)]

    exercise = Exercise("e", cases, lambda case, value: None, "")
    for change in (
        lambda d: d["w"].zero_(),
        lambda d: d.pop("w"),
        lambda d: d.update(v=1) or 1,
        lambda d: d.update(w="text") or 1,
        lambda d: d.update(w=d["w"].float()) or 1,
    ):
        assert "in place" in exercise(change).text
    assert exercise(lambda d: d["w"] * 2).status == "right"


def test_a_generator_must_be_drawn_from():
    exercise = Exercise("e", lambda rng: [(torch.Generator().manual_seed(1),)], lambda case, value: None, "")
    assert "never draws from `generator`" in exercise(lambda g: torch.rand(1)).text
    assert exercise(lambda g: torch.rand(1, generator=g)).status == "right"


def test_values_of_other_kinds_count_if_they_are_right():
    for answer in (
        lambda x: x.float() / 2,
        lambda x: (x / 2).numpy(),
        lambda x: (x / 2).tolist(),
        lambda x: (x / 2).requires_grad_(),
    ):
        assert half(answer).status == "right"


def test_wrong_answers_name_the_smallest_case_or_the_mistake():
    assert half(lambda x: x * 2).text == "Twice as much. Which way?"
    assert half(lambda x: x * 3).text == "For [2.0] you return [6.0]. What is half of it?"
    assert half(lambda x: x / 2).text == "2 cases: one number and three."


def test_a_mistake_that_cannot_judge_is_not_this_mistake():
    exercise = Exercise("e", half_cases, half.judge, "", (Mistake("never", lambda tried: tried[0][1].no_such),))
    assert exercise(lambda x: x * 3).text == half(lambda x: x * 3).text


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_cases_are_the_same_each_time_and_leave_random_numbers_alone(check):
    before = torch.get_rng_state()
    first, second = ([numbers(a) for case in check.draw_cases() for a in case] for _ in range(2))
    check(lambda *arguments: 0)
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


def test_cases_do_not_depend_on_the_process():
    code = "from lttlib.checks.answers import numbers as n\nfrom lttlib.checks.optimal_brain_damage import check_saliency as c\nprint([n(a) for case in c.draw_cases() for a in case])"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_html_is_escaped():
    html = half(lambda x: "<script>alert('&')</script>")._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "&amp;" in html
    assert 'class="verdict verdict-wrong"' in html
    assert 'class="verdict verdict-not"' in half(raises_stub)._repr_html_()


@pytest.mark.parametrize("stage", ["autograde", "validate"])
@pytest.mark.parametrize("answer", [raises_stub, lambda x: x * 2, lambda x: None, lambda x: x.no_such, 3])
def test_under_a_grader_all_but_right_raises(stage, answer, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", stage)
    with pytest.raises(AssertionError, match=r"^(not attempted yet|wrong|error): "):
        half(answer)
    assert half(lambda x: x / 2).status == "right"


def test_without_a_grader_nothing_raises(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    assert half(raises_stub).status == "not attempted yet"


def test_warnings_of_the_reader_are_kept_off_stderr(capfd):  # nbgrader gives no points to a cell with stderr
    def warns(x):
        warnings.warn("careful", stacklevel=1)
        return x / 2

    assert half(warns).status == "right"
    assert capfd.readouterr().err == ""


def test_same_by_hand():
    assert same(1.0000001, 1.0) and not same(1.001, 1.0) and not same(1.0000001, 1.0, tolerance=0)
    assert same([1, 2], (1.0, 2.0)) and not same([1], [1, 2])
    assert same({"a": 1}, {"a": 1.0}) and not same({"a": 1, "b": 2}, {"a": 1}) and not same([1], {"a": 1})
    assert not same(float("nan"), 1.0) and not same(float("inf"), 1.0) and not same(torch.tensor([1.0]), 1.0)
    assert not same(1 + 1j, 1.0)
    live = torch.tensor([True, False])
    assert same(live, live) and not same(live.int(), live) and not same(~live, live)


def test_numbers_by_hand():
    assert numbers(0.1 + 0.2) == "0.3" and numbers(804_004.0) == "804004" and numbers(7) == "7"
    assert numbers(torch.tensor([0.12345, -1.0])) == "[0.1235, -1.0]" and numbers(torch.tensor(3)) == "3"
    assert numbers(torch.tensor([True, False])) == "[1, 0]"
    assert numbers({"a": torch.tensor([1.5])}) == "{a: [1.5]}"
    assert numbers(torch.Generator()) == "generator"
    assert len(numbers(torch.zeros(1000))) == 100
