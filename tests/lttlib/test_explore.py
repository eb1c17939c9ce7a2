"""A figure with sliders: frames, the page's HTML, the live widget, errors."""

import base64
import io
import itertools
import json
import math
from html.parser import HTMLParser

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pytest
from errors import assert_one_line_error, case_name
from PIL import Image

from lttlib import explore as module
from lttlib.explore import explore, png_base64

NASTY = '5% <live> & "quoted"'


def draw(height, color="#0072B2"):
    fig, ax = plt.subplots(figsize=(1.5, 1))
    ax.bar([0, 1], [1, height], color=color)
    return fig


def describe(height, color="#0072B2"):
    return f"Bars 1 and {height} in {color}: 1 < {height} & no </script> ends here"


def one(**changes):
    return explore(**({"draw": draw, "alt": describe, "height": {NASTY: 2, "low": 3, "high": 5}} | changes))


def two():
    return explore(draw, alt=describe, height=[2, 3], color={"blue": "#0072B2", "red": "#D55E00", "gray": "#777777"})


class Page(HTMLParser):
    """Elements with their attributes, and the text of those that hold text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1], data))

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    def text(self, tag):
        return [text for found, text in self.texts if found == tag]


def content(page: Page) -> dict:
    return json.loads(page.text("script")[0])


def test_frames_follow_the_sliders_last_fastest():
    frames = two().frames()
    expected = itertools.product([2, 3], ["#0072B2", "#D55E00", "#777777"])
    assert [frame["alt"] for frame in frames] == [describe(*values) for values in expected]
    assert len({frame["png"] for frame in frames}) == 6


@pytest.mark.parametrize("make", [one, two])
def test_page_parses_and_binds_labels_to_sliders(make):
    page = Page(make().static_html())
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    (figure,), inputs = page.all("figure"), page.all("input")
    assert figure["class"] == "explore" and figure["id"].startswith("explore-")
    assert [label["for"] for label in page.all("label")] == [slider["id"] for slider in inputs]
    assert [output["for"] for output in page.all("output")] == [slider["id"] for slider in inputs]
    assert page.text("label") == list(make().sliders)
    captions = content(page)["captions"]
    assert page.text("output") == [each[0] for each in captions] == [slider["aria-valuetext"] for slider in inputs]
    for slider, each in zip(inputs, captions, strict=True):
        assert (slider["type"], slider["min"], slider["step"], slider["value"]) == ("range", "0", "1", "0")
        assert int(slider["max"]) == len(each) - 1


def test_page_holds_every_frame_and_shows_the_first():
    figure = one()
    page = Page(figure.static_html())
    found = content(page)
    assert found == {"captions": [[NASTY, "low", "high"]], "frames": figure.frames()}
    (image,) = page.all("img")
    assert image["alt"] == describe(2)
    assert image["src"] == "data:image/png;base64," + found["frames"][0]["png"]
    assert page.all("figure")[0]["id"] in page.text("script")[1] and "ID" not in page.text("script")[1]


def test_nothing_is_fetched_from_elsewhere():
    text = one().static_html()
    assert "http" not in text and not any("src" in script for script in Page(text).all("script"))


def test_underscores_are_for_python_only():
    figure = explore(lambda bar_height: draw(bar_height), alt=lambda bar_height: f"{bar_height}", bar_height=[1, 2])
    assert Page(figure.static_html()).text("label") == ["bar height"]


def test_id_comes_from_the_content():
    def key(figure):
        return Page(figure.static_html()).all("figure")[0]["id"]

    assert key(one()) == key(one())
    different = [one(), two(), one(alt=lambda height: f"{height}"), one(draw=lambda height: draw(height + 1))]
    different.append(one(height={"low": 2, "middle": 3, "high": 5}))
    assert len({key(figure) for figure in different}) == 5


def test_pictures_are_pngs_of_few_colors_and_figures_are_closed():
    before = plt.get_fignums()
    picture = Image.open(io.BytesIO(base64.b64decode(png_base64(draw(2)))))
    assert picture.format == "PNG" and picture.size == (1.5 * 200, 1 * 200)
    assert len(picture.getcolors()) <= module.COLORS <= 256
    assert plt.get_fignums() == before


def test_both_representations_are_offered():
    bundle = one()._repr_mimebundle_()
    assert Page(bundle["text/html"]).all("figure")
    assert bundle["text/plain"] == "explore(height)"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]


@pytest.fixture
def live(monkeypatch):
    """Displays a figure and returns its widgets: (picture, sliders)."""
    boxes = []

    class Box(widgets.VBox):
        def __init__(self, children):
            super().__init__(children)
            boxes.append(children)

    monkeypatch.setattr(module.widgets, "VBox", Box)

    def display(figure):
        figure._repr_mimebundle_()
        return boxes[-1][0], boxes[-1][1:]

    return display


def test_moving_the_widget_changes_picture_and_text(live):
    figure = two()
    picture, (height, color) = live(figure)
    assert [control.description for control in (height, color)] == ["height", "color"]
    seen = {}
    for h, c in itertools.product([2, 3], ["#0072B2", "#D55E00", "#777777"]):
        height.value, color.value = h, c
        (image,) = Page(f"<p>{picture.value}</p>").all("img")
        assert image["alt"] == describe(h, c)
        seen[h, c] = image["src"].removeprefix("data:image/png;base64,")
    assert list(seen.values()) == [frame["png"] for frame in figure.frames()]


def test_widget_starts_where_the_page_starts(live):
    picture, (height,) = live(one())
    assert height.value == 2 and [caption for caption, _ in height.options] == [NASTY, "low", "high"]
    assert Page(f"<p>{picture.value}</p>").all("img")[0]["alt"] == describe(2)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: explore(draw, alt="a bar", height=[1, 2]), TypeError, ("alt", "'a bar'", "function", "lambda")),
        (lambda: explore(draw, alt=None, height=[1, 2]), TypeError, ("alt", "None", "function", "lambda")),
        (lambda: explore(None, alt=describe, height=[1, 2]), TypeError, ("draw", "None", "function")),
        (lambda: explore(draw, alt=describe), ValueError, ("sliders", "{}", "at least one", "explore(draw")),
        (lambda: explore(draw, alt=describe, height=[1]), ValueError, ("height", "['1']", "two values")),
        (lambda: explore(draw, alt=describe, height=[]), ValueError, ("height", "[]", "two values")),
        (lambda: explore(draw, alt=describe, height=5), TypeError, ("height", "5")),
        (lambda: explore(draw, alt=describe, height=range(61)), ValueError, ("sliders", "61 frames", "60", "fewer")),
        (lambda: explore(draw, alt=describe, height=range(8), color="abcdefgh"), ValueError, ("64 frames",)),
        (lambda: one(draw=lambda height: None).frames(), TypeError, ("draw", "NoneType", "Figure", "return fig")),
        (lambda: one(draw=lambda height: draw(height).axes).frames(), TypeError, ("draw", "list", "Figure")),
        (lambda: one(alt=lambda height: None).static_html(), TypeError, ("alt", "None")),
        (lambda: one(alt=lambda height: "").static_html(), ValueError, ("alt", "''")),
    ],
    ids=case_name,
)
def test_errors(call, error, words):
    assert_one_line_error(call, *words, error=error)
    plt.close("all")


def test_captions_may_be_numbers():
    figure = one(height={0.5: 1, math.pi: 2})
    assert content(Page(figure.static_html()))["captions"] == [["0.5", str(math.pi)]]
