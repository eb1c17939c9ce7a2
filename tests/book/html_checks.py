"""Checks of built pages, as plain functions: HTML in, list of complaints out (empty when all is well)."""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

BYTES_PER_PAGE = 4_000_000
LOADED = {  # tag -> attribute that a browser fetches
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src",
    "object": "data",
}  # fmt: skip
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch"}
DOLLAR = re.compile(r"\$(?![A-Z][A-Z_]{3})")  # $LTT_DATA is a variable of the shell, no lost formula
REMOTE = re.compile(r"(https?:)?//")
REMOTE_IN_CSS = re.compile(r"""(?:@import|url\()\s*["']?(?:url\(["']?)?((?:https?:)?//[^"')\s]+)""")


def parse(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def stray_dollars(html: str) -> list[str]:
    """Dollar signs that a reader sees: math that was not recognized ($$ needs a blank line before it)."""
    page = parse(html)
    for hidden in page.select("script, style, code, pre, .math"):
        hidden.decompose()
    return [text.strip()[:80] for text in page.find_all(string=DOLLAR)]


def images_without_alt(html: str) -> list[str]:
    """Images without a text alternative; Sphinx puts the file's name where the author gave none."""
    missing = []
    for image in parse(html).select("img:not(.logo__image)"):  # the logo stands beside the book's name
        alt, source = image.get("alt", "").strip(), image.get("src", "")
        if not alt or alt == source or Path(source).name == Path(alt).name:
            missing.append(source[:80])
    return missing


def explore_complaints(html: str) -> list[str]:
    """Every explore figure needs frames, and an alternative text of its own for each of them."""
    complaints = []
    for figure in parse(html).select("figure.explore"):
        data = figure.find("script", type="application/json")
        alts = [frame["alt"].strip() for frame in json.loads(data.string)["frames"]] if data else []
        if len(alts) < 2:
            complaints.append(f"{figure.get('id')}: fewer than two frames")
        elif not all(alts) or len(set(alts)) < len(alts):
            complaints.append(f"{figure.get('id')}: the alternative text does not change with every frame")
    return complaints


def external_resources(html: str) -> list[str]:
    """Everything the page would ask the network for on its own (links that a reader clicks are fine)."""
    page = parse(html)
    found = [tag.get(attribute, "") for name, attribute in LOADED.items() for tag in page.find_all(name)]
    found += [link.get("href", "") for link in page.find_all("link") if LOADING_LINKS & set(link.get("rel", []))]
    found += [part.split()[0] for tag in page.select("[srcset]") for part in tag["srcset"].split(",") if part.strip()]
    styles = [tag.get_text() for tag in page.find_all("style")] + [tag["style"] for tag in page.select("[style]")]
    found += [address for style in styles for address in external_in_css(style)]
    return [address for address in found if REMOTE.match(address)]


def external_in_css(css: str) -> list[str]:
    return REMOTE_IN_CSS.findall(css)


def page_bytes(page: Path) -> int:
    """The page and the pictures it shows; the files that all pages share are not counted."""
    pictures = {tag["src"] for tag in parse(page.read_text(encoding="utf-8")).select("img[src]")}
    files = [page.parent / unquote(urlsplit(source).path) for source in pictures if not source.startswith("data:")]
    return page.stat().st_size + sum(file.stat().st_size for file in files if file.is_file())


def broken_links(page: Path) -> list[str]:
    """Links and resources of one page that lead to no file or to no anchor; addresses on the network are not asked."""
    broken = []
    soup = parse(page.read_text(encoding="utf-8"))
    for tag in soup.select("a[href], link[href], img[src], script[src]"):
        address = tag.get("href") or tag.get("src") or ""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not address:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
        if not target.is_file():
            broken.append(f"{address}: no such file")
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors(target):
            broken.append(f"{address}: no such anchor")
    return broken


@cache
def anchors(page: Path) -> frozenset[str]:
    """Every id and name of a page that a link can point to."""
    tags = parse(page.read_text(encoding="utf-8")).select("[id], a[name]")
    return frozenset(value for tag in tags for value in (tag.get("id"), tag.get("name")) if value)
