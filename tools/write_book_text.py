"""Write notebooks/recorded/book_text.txt: the words of the book's pages, for the character language models.

Plain ASCII, without code, formulas on lines of their own, tables and markup. The same pages give the same file.
"""

import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "notebooks" / "recorded" / "book_text.txt"
RAREST = 20
LISTS = ("api.md",)  # names of files, no sentences

FENCE = re.compile(r"^ *(`{3,}).*?^ *\1`* *$", re.DOTALL | re.MULTILINE)  # code, and directives written like code
FORMULA = re.compile(r"^ *\$\$.*?\$\$ *$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINE_OF_MARKUP = re.compile(r"^ *(?::::+.*|:[\w-]+:.*|\([\w-]+\)=|\|.*|%.*|\{glue\}`[^`]*`|---+)$", re.MULTILINE)
IMAGE = re.compile(r"!\[[^]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
TAG = re.compile(r"</?[a-z][^>\n]*>")
ROLE = re.compile(r"\{([\w:-]+)\}`([^`]*)`")
CITED = re.compile(r"([a-z]+)(\d{4})\w*")
DASHES = str.maketrans({"−": "-", "–": "-", "—": "-", "×": "x", "’": "'", "“": '"', "”": '"', "…": "..."})


def plain(markdown: str) -> str:
    """One page without its markup. A citation becomes name and year, a number that a lab computes becomes #."""
    for left_out in (COMMENT, FENCE, FORMULA, LINE_OF_MARKUP, IMAGE):
        markdown = left_out.sub("", markdown)
    text = LINK.sub(r"\1", ROLE.sub(_spoken, markdown))
    text = re.sub(r"\*+|`+|^[#>]+ +", "", TAG.sub("", text), flags=re.MULTILINE)
    text = unicodedata.normalize("NFKD", text.translate(DASHES)).encode("ascii", "ignore").decode()
    lines = (re.sub(r" +", " ", line).strip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _spoken(role: re.Match) -> str:
    """What stands for {role}`content`: cite, glue:text, term, prf:ref, kbd ..."""
    name, content = role.groups()
    if name.startswith("cite"):
        names = ", ".join(CITED.sub(lambda key: f"{key[1].title()} {key[2]}", key) for key in content.split(","))
        return names if name == "cite:t" else f"({names})"
    return "#" if name.startswith("glue") else content.split("<")[0].strip()


def text_of(folder: Path) -> str:
    """The pages by name, one after the other. A character that appears fewer than RAREST times in all is left out.

    Of a rare capital letter the small one stays, where that is not rare: a word keeps its length.
    """
    pages = [page for page in sorted(folder.glob("*.md")) if page.name not in LISTS]
    text = "\n".join(plain(page.read_text(encoding="utf-8")) for page in pages)
    for instead in (str.lower, lambda _rare: ""):
        counts = Counter(text)
        text = "".join(one if counts[one] >= RAREST else instead(one) for one in text)
    return text


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    text = text_of(ROOT / "book")
    target.write_text(text, encoding="ascii", newline="\n")
    print(f"{target}: {len(text):,} characters, {len(set(text))} different")
