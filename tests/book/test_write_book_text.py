"""The text for the language models: markup goes, words stay, rare characters go, the same pages give the same file."""

import subprocess
import sys
from pathlib import Path

import pytest
import write_book_text
from write_book_text import plain, text_of

ROOT = Path(__file__).parents[2]

PAGE = """# Masks – and more

> **Without** ever being *dense*?

(a-label)=
## In `code`

:::{prf:algorithm} A step of SET
:label: alg-step

1. Keep $k$ weights {cite:p}`evci2020rigl,mocanu2018set`, as {cite:t}`sundar2021reproducibility` say.
:::

Erdős {glue:text}`../a.ipynb::b:s` points; see {term}`live <live weight>` and the [lab](../notebooks/x.ipynb)<br>.

{glue}`../a.ipynb::figure`

| a | b |
|---|---|
| 1 | 2 |

![alt](figure.png)

$$
x = y
$$

```{literalinclude} ../lttlib/dst.py
:pyobject: step
```

````{dropdown} Solution
```python
hidden = 1
```
````

<!-- no
word -->

---

  The   end.
"""

EXPECTED = """Masks - and more

Without ever being dense?

In code

1. Keep $k$ weights (Evci 2020, Mocanu 2018), as Sundar 2021 say.

Erdos # points; see live and the lab.

The end.
"""


def test_a_page_by_hand():
    assert plain(PAGE) == EXPECTED


@pytest.mark.parametrize(
    "markdown, expected",
    [
        ("a $b < c$ and\n$d > e$", "a $b < c$ and\n$d > e$\n"),  # no tag
        ("5 × 3 − 1 … “so” ’s", '5 x 3 - 1 ... "so" \'s\n'),
        ("```\none\n```\nkept\n```\ntwo\n```", "kept\n"),
        ("- a **b** c", "- a b c\n"),
    ],
)
def test_small_pieces(markdown, expected):
    assert plain(markdown) == expected


def test_rare_characters_and_the_order_of_pages(tmp_path):
    """Nineteen are rare, twenty are not. A rare capital becomes small, where small ones are not rare."""
    (tmp_path / "b.md").write_text("x" * 20 + "Q" * 19 + "X" * 19 + "!" * 20)
    (tmp_path / "a.md").write_text("yyyyy " * 10 + "?" * 19)
    (tmp_path / "api.md").write_text("z" * 99)
    (tmp_path / "other.txt").write_text("w" * 99)
    assert text_of(tmp_path) == "y" * 50 + "x" * 39 + "!" * 20  # spaces and line breaks are rare here


def test_the_books_pages(tmp_path):
    """Twice the same; ASCII; no markup."""
    written = []
    for name in ("one.txt", "two.txt"):
        command = [sys.executable, str(ROOT / "tools" / "write_book_text.py"), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        written.append((tmp_path / name).read_bytes())
        assert f"{len(written[-1]):,} characters" in done.stdout
    assert written[0] == written[1]
    text = written[0].decode("ascii")
    assert len(text) > 150_000 and min(map(text.count, set(text))) >= write_book_text.RAREST
    for markup in ("{cite", "{glue", ":::", "```", "$$", "](", "literalinclude", "\r", "\t"):
        assert markup not in text, markup
    assert "Lottery tickets" in text and "Evci 2020" in text
