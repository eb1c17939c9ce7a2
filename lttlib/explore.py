"""A figure with sliders: live widgets in JupyterLab, pre-rendered frames on the static page.

`explore(draw, alt=..., size=[...])` returns one object with both representations; Jupyter picks the one it can show.
"""

import base64
import hashlib
import html
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from lttlib.arguments import require

MAX_FRAMES = 60
DPI = 200
COLORS = 128

SCRIPT = """
(() => {
  const figure = document.getElementById("ID");
  const {captions, frames} = JSON.parse(figure.querySelector("script").textContent);
  const picture = figure.querySelector("img");
  const sliders = [...figure.querySelectorAll("input")];
  const show = () => {
    const at = sliders.map(slider => Number(slider.value));
    const frame = frames[at.reduce((sum, i, s) => sum * captions[s].length + i, 0)];
    picture.src = "data:image/png;base64," + frame.png;
    picture.alt = frame.alt;
    sliders.forEach((slider, s) => {
      slider.setAttribute("aria-valuetext", captions[s][at[s]]);
      slider.nextElementSibling.textContent = captions[s][at[s]];
    });
  };
  sliders.forEach(slider => slider.addEventListener("input", show));
  show();
})();
"""


def explore(
    draw: Callable[..., Figure],
    *,
    alt: Callable[..., str],
    **sliders: Sequence | Mapping[str, object],
) -> "Explorer":
    """Make a figure move: draw(**values) is called with one value per slider and returns a matplotlib Figure.

    alt(**values) returns the text alternative of that frame; it should say what the frame shows, with its values.
    Each slider is a sequence of values, or a dict from caption to value, e.g. live={"5% live": 0.05}. At most 60
    frames in all; the first one is what a reader sees first.
    """
    return Explorer(draw, alt, sliders)


class Explorer:
    """What explore returns. The frames are drawn once, on first display; the live widget draws anew."""

    def __init__(self, draw, alt, sliders):
        require(
            callable(alt),
            "alt",
            repr(alt),
            "a function of the slider values",
            "alt=lambda live: f'... {live} ...'",
            TypeError,
        )
        require(callable(draw), "draw", repr(draw), "a function of the slider values", "return a Figure", TypeError)
        require(len(sliders) > 0, "sliders", "{}", "at least one", "explore(draw, alt=alt, live=[1, 2, 3])")
        self.draw, self.alt = draw, alt
        self.sliders = {name: _captioned(name, values) for name, values in sliders.items()}
        count = len(list(itertools.product(*self.sliders.values())))
        require(count <= MAX_FRAMES, "sliders", f"{count} frames", f"at most {MAX_FRAMES}", "use fewer values")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return self._live() | {"text/html": self.static_html(), "text/plain": f"explore({', '.join(self.sliders)})"}

    def frames(self) -> list[dict[str, str]]:
        """Every frame as {"png": base64, "alt": text}; the last slider varies fastest."""
        drawn = []
        for values in itertools.product(*(slider.values() for slider in self.sliders.values())):
            arguments = dict(zip(self.sliders, values, strict=True))
            alt = self.alt(**arguments)
            require(isinstance(alt, str), "alt", repr(alt), "text", "return a string", TypeError)
            require(bool(alt.strip()), "alt", repr(alt), "text", "say what the frame shows")
            drawn.append({"png": png_base64(self.draw(**arguments)), "alt": alt})
        return drawn

    def static_html(self) -> str:
        """Self-contained block: picture, labelled range inputs, frames as JSON, a few lines of script."""
        frames = self.frames()
        captions = [list(slider) for slider in self.sliders.values()]
        # The id comes from the content: the same figure gives the same page, and different figures different ids.
        key = "explore-" + hashlib.sha256(json.dumps([captions, frames]).encode()).hexdigest()[:12]
        rows = "".join(
            f'<div class="explore-row"><label for="{key}-{name}">{html.escape(name.replace("_", " "))}</label>'
            f'<input type="range" id="{key}-{name}" min="0" max="{len(slider) - 1}" step="1" value="0" '
            f'aria-valuetext="{html.escape(next(iter(slider)))}">'
            f'<output for="{key}-{name}">{html.escape(next(iter(slider)))}</output></div>'
            for name, slider in self.sliders.items()
        )
        content = json.dumps({"captions": captions, "frames": frames}).replace("</", "<\\/")
        return (
            f'<figure class="explore" id="{key}"><img width="390" src="data:image/png;base64,{frames[0]["png"]}" '
            f'alt="{html.escape(frames[0]["alt"])}"><div class="explore-controls">{rows}</div>'
            f'<script type="application/json">{content}</script></figure>'
            f"<script>{SCRIPT.replace('ID', key)}</script>"
        )

    def _live(self) -> dict:
        """The widget view: the same sliders, each move calls draw."""
        controls = {
            name: widgets.SelectionSlider(options=list(slider.items()), description=name.replace("_", " "),
                                          continuous_update=False)
            for name, slider in self.sliders.items()
        }  # fmt: skip
        picture = widgets.HTML()

        def show(_=None):
            values = {name: control.value for name, control in controls.items()}
            picture.value = (
                f'<img class="explore-live" width="390" src="data:image/png;base64,{png_base64(self.draw(**values))}" '
                f'alt="{html.escape(self.alt(**values))}">'
            )

        for control in controls.values():
            control.observe(show, names="value")
        show()
        return widgets.VBox([picture, *controls.values()])._repr_mimebundle_()


def png_base64(figure: Figure) -> str:
    """The figure as a 128-colour PNG in base64; closes the figure."""
    require(
        isinstance(figure, Figure),
        "draw",
        type(figure).__name__,
        "a matplotlib Figure",
        "end draw with `return fig`",
        TypeError,
    )
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI)
    plt.close(figure)
    Image.open(full).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _captioned(name: str, values) -> dict[str, object]:
    require(isinstance(values, Mapping | Sequence), name, repr(values), "a sequence or a dict", "[1, 2]", TypeError)
    captioned = (
        {str(k): v for k, v in values.items()}
        if isinstance(values, Mapping)
        else {str(value): value for value in values}
    )
    require(
        len(captioned) >= 2, name, list(captioned), "two values or more", "a slider that cannot move is not a slider"
    )
    return captioned
