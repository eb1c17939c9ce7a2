"""The figures are drawn once, on white, and inverted in dark mode: the pixels that then reach the reader's eye."""

import base64
import io

import pytest
from book_pages import CHAPTERS, LABS, show
from PIL import Image, ImageDraw

from lttlib.plots import ROLES

PAPER = {"light": (255, 255, 255), "dark": (18, 18, 18)}  # of the page; a figure has the same
FIGURES = ".bd-content figure.explore img, .bd-content .cell_output img:not(.keep-colors), .bd-content img.figure"
BAR = 40  # px


def shot(locator) -> Image.Image:
    return Image.open(io.BytesIO(locator.screenshot())).convert("RGB")


def luminance(color) -> float:
    """Relative luminance of an sRGB color, 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def complaints(picture: Image.Image, theme: str) -> list[str]:
    """What is wrong with the paper and the ink of one figure."""
    width, height = picture.size
    corners = {picture.getpixel((x, y)) for x in (2, width - 3) for y in (2, height - 3)}
    off = [c for c in corners if max(abs(a - b) for a, b in zip(c, PAPER[theme], strict=True)) > 3]
    ink = max(contrast(color, PAPER[theme]) for _, color in picture.getcolors(picture.width * picture.height))
    return [f"paper {color}" for color in off] + [f"ink {ink:.1f}:1"] * (ink < 4.5)


@pytest.mark.parametrize("theme", PAPER)
@pytest.mark.parametrize("name", [*CHAPTERS, *LABS, "book/for_lecturers"])
def test_paper_and_ink(visit, name, theme):
    page = visit(name)
    show(page, theme)
    figures = [figure for figure in page.locator(FIGURES).all() if figure.is_visible()]
    assert figures
    found = {figure.get_attribute("alt"): complaints(shot(figure), theme) for figure in figures}
    assert {alt: said for alt, said in found.items() if said} == {}


def bars(colors) -> str:
    """An image with one bar per color on white, as the address of an img."""
    picture = Image.new("RGB", (BAR * (2 * len(colors) + 1), 3 * BAR), "white")
    draw = ImageDraw.Draw(picture)
    for number, color in enumerate(colors):
        draw.rectangle((BAR * (2 * number + 1), BAR, BAR * (2 * number + 2) - 1, 2 * BAR - 1), fill=color)
    file = io.BytesIO()
    picture.save(file, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def shown(visit, theme: str, colors) -> list[float]:
    """Contrast with the paper that each color has once a browser has drawn it inside a figure of a page."""
    page = visit(LABS[0])
    show(page, theme)
    image = page.locator("figure.explore img").first
    image.evaluate("(img, src) => { img.src = src; return img.decode(); }", bars(colors))
    picture = shot(image)
    step = picture.width / (2 * len(colors) + 1)
    middle = [picture.getpixel((round(step * (2 * n + 1.5)), picture.height // 2)) for n in range(len(colors))]
    return [contrast(color, PAPER[theme]) for color in middle]


@pytest.mark.parametrize("theme", PAPER)
def test_roles_and_text_stand_out(visit, theme):
    names = [*ROLES, "text"]
    least = [3.0] * len(ROLES) + [4.5]  # graphics and text (WCAG 1.4.11 and 1.4.3)
    seen = shown(visit, theme, [*(role.color for role in ROLES.values()), "#000000"])
    assert [(name, round(c, 2)) for name, c, need in zip(names, seen, least, strict=True) if c < need] == []


def test_pale_colors_would_be_noticed(visit):
    """Too pale for white paper; too dark for a dark page, that is, too pale once inverted."""
    assert all(ratio < 3 for ratio in shown(visit, "light", ["#8FB8D8", "#F0B090"]))
    assert all(ratio < 3 for ratio in shown(visit, "dark", ["#B0B0B0", "#C9DFEE"]))


def test_a_figure_that_stays_white_would_be_noticed(visit):
    page = visit(LABS[0])
    show(page, "dark")
    figure = page.locator("figure.explore img").first
    assert complaints(shot(figure), "dark") == []
    figure.evaluate("img => img.style.setProperty('filter', 'none', 'important')")
    assert "paper (255, 255, 255)" in complaints(shot(figure), "dark")
    figure.evaluate("img => img.style.setProperty('filter', 'invert(.93) contrast(.2) brightness(.25)', 'important')")
    assert any(said.startswith("ink") for said in complaints(shot(figure), "dark"))
