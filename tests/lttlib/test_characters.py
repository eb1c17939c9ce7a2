"""Text as numbers: a split by hand, batches that depend on step and seed alone, damaged files."""

import pytest
import torch
from errors import assert_one_line_error, case_name

from lttlib import characters
from lttlib.characters import Text, book_text, text_of
from lttlib.data import DataError

LETTERS = "".join(chr(ord("a") + i % 26) for i in range(200))  # so the successor of every character is known
ALPHABET = text_of(LETTERS)


def test_split_and_vocabulary_by_hand():
    """105 characters: the last tenth is 10, and "z" appears there alone."""
    text = text_of("b a\n" * 25 + "bazzz")
    assert text.vocabulary == "\n abz" and text.train.dtype == text.validation.dtype == torch.int64
    assert (len(text.train), len(text.validation)) == (95, 10)
    assert text.train[:4].tolist() == [3, 1, 2, 0]
    assert text.validation.tolist() == [0, 3, 1, 2, 0, 3, 2, 4, 4, 4]
    assert text.decode(text.train) + text.decode(text.validation) == "b a\n" * 25 + "bazzz"
    assert text.encode("a b").tolist() == [2, 1, 3] and text.decode(torch.tensor([], dtype=torch.int64)) == ""
    assert text.encode("").dtype == torch.int64


@pytest.mark.parametrize("part, low, high", [("train", 0, 180), ("validation", 180, 200)])
def test_batches_are_passages_and_their_successors(part, low, high):
    passages = LETTERS[low:high]
    starts = set()
    for step in range(60):
        x, y = ALPHABET.batch(step, 0, 3, 5, part=part)
        assert x.shape == y.shape == (3, 5) and x.dtype == y.dtype == torch.int64
        assert y.equal((x + 1) % 26) and x[:, 1:].equal(y[:, :-1])
        assert all(ALPHABET.decode(row) in passages for row in x)
        starts |= set(x[:, 0].tolist())
    assert len(starts) == min(26, high - low - 5)  # every place where a passage and its successor fit


def test_the_whole_part_is_one_passage():
    x, y = ALPHABET.batch(0, 0, 2, 179)
    assert ALPHABET.decode(x[0]) == LETTERS[:179] and ALPHABET.decode(y[1]) == LETTERS[1:180]


def test_batches_depend_on_step_and_seed_alone():
    torch.manual_seed(0)
    first = ALPHABET.batch(3, 1, 4, 6)[0]
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert ALPHABET.batch(3, 1, 4, 6)[0].equal(first)
    torch.manual_seed(0)
    ALPHABET.batch(3, 1, 4, 6)
    assert torch.get_rng_state().equal(state)
    others = [ALPHABET.batch(step, seed, 4, 6)[0] for step, seed in ((4, 1), (3, 2), (1, 3), (0, 4))]
    assert not any(first.equal(other) for other in others)
    assert (first[0] != first[1]).any()
    assert ALPHABET.batch(3, 1, 4, 6, part="train")[0].equal(first)


def test_a_file_and_the_books_own(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_bytes(LETTERS.encode() + b"\r\n")
    text = book_text(path)
    assert text.decode(text.train) == (LETTERS + "\n")[:181] and text.vocabulary[0] == "\n"
    monkeypatch.setattr(characters, "BOOK_TEXT", path)
    assert isinstance(book_text(), Text) and book_text().train.equal(text.train)
    assert book_text(str(path)).train.equal(text.train)


def test_the_shipped_text():
    """What the recorded runs read: enough text, few characters, split in whole passages."""
    if not characters.BOOK_TEXT.exists():
        pytest.skip("an installed lttlib has no notebooks/recorded")
    text = book_text()
    together = len(text.train) + len(text.validation)
    assert 150_000 < together < 250_000 and len(text.validation) == together // 10
    assert 40 < len(text.vocabulary) < 100 and text.vocabulary.isascii()
    counts = torch.bincount(torch.cat([text.train, text.validation]), minlength=len(text.vocabulary))
    assert counts.min() >= 20 and " the " in text.decode(text.train[:2000])


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ("does not exist", "write_book_text.py")),
        (b"abc" * 33, ("99 characters", "to the end")),
        ("naïve".encode() * 50, ("not ASCII", "byte 2")),
        (b"", ("0 characters",)),
    ],
    ids=["missing", "short", "not ASCII", "empty"],
)
def test_damaged_files(tmp_path, content, words):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    assert_one_line_error(lambda: book_text(path), "words.txt", *words, error=DataError)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ALPHABET.batch(-1, 0, 2, 3), ("step", "-1", "0 or more")),
        (lambda: ALPHABET.batch(0, 0, 0, 3), ("batch_size", "0", "1 or more")),
        (lambda: ALPHABET.batch(0, 0, 2, 0), ("context", "0", "1 to 179", "train")),
        (lambda: ALPHABET.batch(0, 0, 2, 20, part="validation"), ("context", "20", "1 to 19", "validation")),
        (lambda: ALPHABET.batch(0, 0, 2, 3, part="test"), ("part", "'test'", "'validation'")),
        (lambda: ALPHABET.encode("aBc!"), ("text", "['!', 'B']", "leave these out")),
        (lambda: ALPHABET.decode(torch.tensor([0, 26])), ("numbers", "26", "0 to 25")),
        (lambda: ALPHABET.decode(torch.tensor([-1, 3])), ("numbers", "-1", "0 to 25")),
        (lambda: text_of("a" * 99), ("characters", "99 of them", "100 or more")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
