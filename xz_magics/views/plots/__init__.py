"""Outcomes as pictures: the one room that knows matplotlib."""

from xz_magics.views.plots.figure import Figure, png
from xz_magics.views.plots.histograms import histograms
from xz_magics.views.plots.timeline import timeline

__all__ = ["Figure", "histograms", "png", "timeline"]
