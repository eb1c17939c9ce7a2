"""Print chapters of the built book: python tools/print_pdf.py [--html DIR] [--output DIR] [CHAPTER ...]"""

import argparse
import sys
from pathlib import Path

import yaml
from find_chromium import FLAGS, HOW_TO_GET, find_chromium
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
CSS = """
.bd-header, .bd-header-article, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-footer, .prev-next-footer,
.pst-announcement, .skip-link, #pst-skip-link, .headerlink, .toggle-button, .copybtn, .sd-summary-chevron-down,
.sd-summary-chevron-right, .explore-controls input, .search-button__wrapper { display: none !important; }
.bd-main, .bd-content, .bd-article-container, .bd-container, .bd-article { max-width: none !important; padding: 0 !important; }
html { font-size: 13px !important; }
body { background: #ffffff; }
figure, img, table, pre, .admonition, .sd-card-header, mjx-container[display="true"] { break-inside: avoid; }
.admonition:has(details), figure.explore { break-inside: auto; }
h1, h2, h3 { break-after: avoid; }
a:not([href]) { color: inherit !important; text-decoration: none !important; }
pre, pre span { white-space: pre-wrap !important; }
.explore-controls { grid-template-columns: max-content max-content !important; justify-content: center; }
"""
OPEN = """() => {
  document.querySelectorAll("details").forEach(box => { box.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach(box => box.classList.remove("toggle-hidden"));
  // A sheet of paper has no other page to lead to: links into this page and to the network stay.
  document.querySelectorAll("a[href]").forEach(link => {
    const here = link.href.split("#")[0] === location.href.split("#")[0];
    if (link.protocol === "file:" && !here) link.removeAttribute("href");
  });
}"""
NUMBERS = (
    '<div style="font: 8px sans-serif; width: 100%; text-align: center">'
    '<span class="title"></span> &nbsp; <span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)


class PrintError(Exception):
    """What keeps a chapter from being printed, and the remedy."""


def printable() -> dict[str, str]:
    """Chapter to page, in the order of the table of contents, and the bibliography that they cite."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [entry["file"] for part in toc["parts"] if part["caption"] == "Chapters" for entry in part["chapters"]]
    return {Path(page).name: page for page in [*pages, "book/bibliography"]}


def print_page(page: Page, html: Path, pdf: Path) -> None:
    """Open a built page as a reader would who unfolds every box, and print it on A4."""
    page.goto(html.as_uri())
    page.evaluate("window.MathJax?.startup?.promise?.then(() => 'drawn')")
    page.add_style_tag(content=CSS)
    page.evaluate(OPEN)
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0))).then(() => 'shown')")
    page.pdf(
        path=pdf,
        format="A4",
        margin={"top": "16mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=NUMBERS,
        print_background=True,
        tagged=True,
        outline=True,
    )


def print_chapters(names: list[str], html: Path, output: Path) -> list[Path]:
    pages = printable()
    if unknown := [name for name in names if name not in pages]:
        raise PrintError(f"no chapter named {', '.join(unknown)}; there are: {', '.join(pages)}")
    wanted = {name: html / f"{pages[name]}.html" for name in names or pages}
    if missing := [str(file) for file in wanted.values() if not file.is_file()]:
        raise PrintError(f"not built yet: {', '.join(missing)}; run make book first")
    if (browser := find_chromium()) is None:
        raise PrintError(HOW_TO_GET)
    output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch(executable_path=browser, args=FLAGS).new_context(color_scheme="light")
        for name, file in wanted.items():
            page = context.new_page()
            print_page(page, file, output / f"{name}.pdf")
            page.close()
    return [output / f"{name}.pdf" for name in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "pdf")
    arguments = parser.parse_args()
    try:
        printed = print_chapters(arguments.chapters, arguments.html.resolve(), arguments.output.resolve())
    except PrintError as error:
        sys.exit(f"make pdf: {error}")
    print("Printed, as the book stands now:\n")
    for file in printed:
        print(f"    {file}")


if __name__ == "__main__":
    main()
