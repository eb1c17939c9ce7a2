"""A text as numbers, one for each character, for small language models. The book's own pages are the default text."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lttlib.arguments import require, require_choice
from lttlib.data import DataError

BOOK_TEXT = Path(__file__).parents[1] / "notebooks" / "recorded" / "book_text.txt"
SHORTEST = 100
PARTS = ("train", "validation")


@dataclass(frozen=True, eq=False)
class Text:
    """One split text. vocabulary: its characters, sorted; a character's number is its place there.

    train, validation: int64 (characters,): the text up to its last tenth, and that tenth. So both are whole passages.
    """

    vocabulary: str
    train: Tensor
    validation: Tensor

    def encode(self, text: str) -> Tensor:
        """Numbers of the characters, int64 (len(text),)."""
        unknown = sorted(set(text) - set(self.vocabulary))
        require(not unknown, "text", f"one with {unknown}", "characters of the vocabulary only", "leave these out")
        numbers = {character: number for number, character in enumerate(self.vocabulary)}
        return torch.tensor([numbers[character] for character in text], dtype=torch.int64)

    def decode(self, numbers: Tensor) -> str:
        """The text of numbers (characters,): what encode came from."""
        inside = numbers.numel() == 0 or (int(numbers.min()) >= 0 and int(numbers.max()) < len(self.vocabulary))
        require(inside, "numbers", numbers.tolist()[:8], f"0 to {len(self.vocabulary) - 1}", "see vocabulary")
        return "".join(self.vocabulary[number] for number in numbers.tolist())

    def batch(
        self, step: int, seed: int, batch_size: int, context: int, *, part: str = "train"
    ) -> tuple[Tensor, Tensor]:
        """(x, y) of one step, both int64 (batch_size, context): passages from random places, and what follows each character.

        Depends on these arguments alone. So processes that share a batch draw the whole one and take their rows.
        """
        require_choice(part, PARTS, "part")
        source = getattr(self, part)
        require(step >= 0, "step", step, "0 or more", "the first step is 0")
        require(batch_size >= 1, "batch_size", batch_size, "1 or more", "it counts passages")
        require(1 <= context < len(source), "context", context, f"1 to {len(source) - 1}, the characters of {part} but one",
                "the last of them needs a successor")  # fmt: skip
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        starts = torch.randint(len(source) - context, (batch_size, 1), generator=generator)
        passages = source[starts + torch.arange(context + 1)]
        return passages[:, :-1], passages[:, 1:]


def text_of(characters: str) -> Text:
    """A string split into its first nine tenths and its last, with the vocabulary of the whole."""
    require(len(characters) >= SHORTEST, "characters", f"{len(characters)} of them", f"{SHORTEST} or more", "take more")
    whole = Text("".join(sorted(set(characters))), torch.empty(0), torch.empty(0))
    numbers = whole.encode(characters)
    held = len(numbers) // 10
    return Text(whole.vocabulary, numbers[:-held], numbers[-held:])


def book_text(path: str | Path | None = None) -> Text:
    """The Text of a file in ASCII, by default the words of this book's pages. Raises DataError, saying what to do."""
    path = BOOK_TEXT if path is None else Path(path)
    try:
        characters = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise DataError(
            f"text: {path} does not exist; python tools/write_book_text.py writes that of the book"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"text: {path} is not ASCII ({error.reason}, byte {error.start}); replace what is not"
        ) from None
    if len(characters) < SHORTEST:
        raise DataError(
            f"text: {path} holds {len(characters)} characters, fewer than {SHORTEST}; was it written to the end?"
        )
    return text_of(characters)
