"""What an error of lttlib must look like."""

import pytest


def assert_one_line_error(call, *words: str, error: type[Exception] = ValueError) -> None:
    """call() raises `error` with one line that holds every word: the argument, its value, the remedy."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value.args[0])  # str(KeyError) would quote and escape it
    assert "\n" not in message
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def case_name(value) -> str:
    """Name of a case in a table of errors: argument and value, from the words its message must hold."""
    if isinstance(value, tuple):
        return " ".join(value[:2])
    if isinstance(value, dict):
        return " ".join(value)  # names only: a value may print its address, which differs between workers
    return getattr(value, "__name__", str(value)).strip("<>")
