"""Build a deck of slides from each lab, readable without a network: python tools/build_slides.py [--output DIR] [LAB ...]"""

import argparse
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert.exporters.slides import SlidesExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).parent / "slides_template"
RELATIVE_LINK = re.compile(r'<a href="(?!https?:|#)[^"]*">(.*?)</a>', re.DOTALL)


class SlidesError(Exception):
    """A deck that cannot be built: which lab and why."""


def unlink(html: str) -> str:
    """Links to other pages of the book become text: a deck travels alone."""
    return RELATIVE_LINK.sub(r"\1", html)


class DeckExporter(SlidesExporter):
    """nbconvert's slides with our template: it knows which cell starts a slide, the template asks no network."""

    def __init__(self):
        priority = ["text/html", "image/png", "text/plain"]
        super().__init__(
            config=Config(NbConvertBase={"display_data_priority": priority}),
            exclude_anchor_links=True,
            template_name=TEMPLATE.name,
            extra_template_basedirs=[str(TEMPLATE.parent)],
        )
        self.register_filter("unlink", unlink)


def deck(path: Path) -> str:
    """The deck of one lab as HTML; assets/ must lie beside it."""
    lab = nbformat.read(path, as_version=4)
    if "slide" not in map(slide_type, lab.cells):
        raise SlidesError(f'{path.name} has no cell with "slideshow": {{"slide_type": "slide"}} in its metadata')
    lab.cells = notes_first([cell for cell in lab.cells if slide_type(cell) != "skip"])
    html, _ = DeckExporter().from_notebook_node(lab, resources={"deck": {"title": title(lab)}})
    return html


def slide_type(cell) -> str:
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def notes_first(cells: list) -> list:
    """Notes right behind the first cell of their slide: inside a fragment reveal.js would show them late or not at all."""
    ordered, opening = [], 0
    for cell in cells:
        if slide_type(cell) == "notes":
            ordered.insert(opening, cell)
        else:
            ordered.append(cell)
        if slide_type(cell) in ("slide", "subslide"):
            opening = len(ordered)
        elif slide_type(cell) == "notes":
            opening += 1
    return ordered


def title(lab) -> str:
    heading = re.search(r"^# (.+)$", lab.cells[0].source, re.MULTILINE)
    return heading[1] if heading else "Slides"


def copy_assets(folder: Path) -> None:
    """reveal.js, MathJax and the style, from the packages that bring them."""
    reveal = _package("sphinx_revealjs") / "_static" / "revealjs"
    mathjax = _package("sphinx-mathjax-offline") / "static" / "mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "reveal").mkdir(parents=True)
    for file in ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "LICENSE"):
        shutil.copy(reveal / file, folder / "reveal")
    shutil.copytree(mathjax / fonts, folder / "mathjax" / fonts)
    shutil.copy(mathjax / "tex-chtml-full.js", folder / "mathjax")
    for file in ("slides.css", "slides.js"):
        shutil.copy(TEMPLATE / file, folder)
    (folder / "code.css").write_text(HtmlFormatter(style="default").get_style_defs(".highlight"), encoding="utf-8")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None:
        raise SlidesError(f"the package {name} is missing: run make venv")
    return Path(spec.submodule_search_locations[0])


def build(labs: list[Path], output: Path) -> list[Path]:
    """Write output/<lab>.html for every lab, with output/assets; return the decks."""
    copy_assets(output / "assets")
    decks = []
    for lab in labs:
        decks.append(output / f"{lab.stem}.html")
        decks[-1].write_text(deck(lab), encoding="utf-8")
    return decks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labs", nargs="*", metavar="LAB")
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "slides")
    arguments = parser.parse_args()
    labs = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    try:
        if unknown := [name for name in arguments.labs if name not in labs]:
            raise SlidesError(f"no lab named {', '.join(unknown)}; there are: {', '.join(labs)}")
        decks = build([labs[name] for name in arguments.labs or labs], arguments.output.resolve())
    except SlidesError as error:
        sys.exit(f"make slides: {error}")
    print("Slides (S: speaker notes, F: full screen, ?: all keys). Open them in a browser:\n")
    for file in decks:
        print(f"    {file.as_uri()}")


if __name__ == "__main__":
    main()
