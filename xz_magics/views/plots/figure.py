"""The paper that pictures are drawn on: its ink, its legend, and how it becomes a PNG."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib import figure
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from xz_magics.views.wording import harmless

PAGE_DPI = 96
FINE_DPI = 1.5 * PAGE_DPI
WIDTH_INCHES = 9.0
PNG_COLOURS = 64
LEGEND_CHARACTERS = 120
SIGN_CHARACTERS = 6
LEGEND_ROW_INCHES = 0.2
SANE_STEPS = [1, 2, 5, 10]

INK = "#7A7A7A"
"""Reads equally well on a white and on a dark page: 4.3 to 1 on #FFFFFF and on #111111."""
EDGE = "#00000060"


class Figure(figure.Figure):
    """A figure that a notebook shows as a cell's value whether or not somebody has imported pyplot.

    `told` is what it shows in words.
    """

    told = ""

    def img(self) -> str:
        """As an HTML element of its own, with those words for who cannot see it."""
        return self._element(_as_text(png(self)))

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        """JupyterLab knows of no words beside an image/png, so it is given HTML, too."""
        picture = _as_text(png(self))
        size = dict(zip(("width", "height"), self._size(), strict=True))
        bundle = {"text/plain": self.told or repr(self), "text/html": self._element(picture), "image/png": picture}
        return bundle, {"image/png": size | {"alt": self.told}}

    def _element(self, picture: str) -> str:
        width, _ = self._size()
        return (
            f'<img alt="{escape(harmless(self.told))}" width="{width}" style="max-width:100%;height:auto"'
            f' src="data:image/png;base64,{picture}">'
        )

    def _size(self) -> tuple[int, int]:
        width, height = self.get_size_inches()
        return round(width * PAGE_DPI), round(height * PAGE_DPI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How one kind of thing is filled, and what the legend calls it."""

    name: str
    colour: str
    hatch: str = ""

    @property
    def filling(self) -> dict[str, Any]:
        return {"facecolor": self.colour, "edgecolor": EDGE, "hatch": self.hatch, "linewidth": 0.5}

    def patch(self) -> Patch:
        return Patch(**self.filling)


def paper(height_inches: float) -> Figure:
    """Transparent, so that it takes the page's own colour."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), dpi=PAGE_DPI, layout="constrained", facecolor="none")


def png(drawn: figure.Figure) -> bytes:
    """Finer than a page's pixels, so that it is sharp on most screens, and of few colours, so that it is small."""
    with io.BytesIO() as fine, io.BytesIO() as small:
        drawn.savefig(fine, format="png", dpi=FINE_DPI)
        with Image.open(fine) as image:
            image.quantize(PNG_COLOURS, method=Image.Quantize.FASTOCTREE).save(small, format="png", optimize=True)
        return small.getvalue()


def _as_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.set_axisbelow(True)


def add_legend(drawn: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Below all, in as many rows as it needs: the figure grows by them."""
    if not names:
        return
    columns = min(len(names), max(1, LEGEND_CHARACTERS // (max(map(len, names)) + SIGN_CHARACTERS)))
    rows = -(-len(names) // columns)
    drawn.set_figheight(drawn.get_figheight() + LEGEND_ROW_INCHES * rows)
    # The names are set afterwards: a legend leaves out what begins with an underscore when it is made.
    blanks = [" "] * len(names)
    legend = drawn.legend(
        handles,
        blanks,
        loc="outside lower center",
        ncols=-(-len(names) // rows),
        frameon=False,
        labelcolor=INK,
        fontsize="small",
    )
    for words, name in zip(legend.get_texts(), names, strict=True):
        words.set_text(name)
        take_literally(words)


def take_literally(*texts: Text) -> None:
    """Somebody else's words are no formula."""
    for words in texts:
        words.set_parse_math(False)
        words.set_usetex(False)


def shortened(words: str, most: int) -> str:
    """In one line, without what is invisible, and without its middle where it is longer: both ends tell it apart.

    What the fonts cannot write is a box, for matplotlib warns of each such character.
    """
    line = harmless(" ".join(words.split()))
    tail = most // 3
    if len(line) > most:
        line = f"{line[: most - tail - 1]}…{line[-tail:]}"
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in FontProperties().get_family()]
    return "".join(char if any(font.get_char_index(ord(char)) for font in fonts) else "□" for char in line)
