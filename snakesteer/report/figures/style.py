"""How the figures look: colours that colour-blind readers can tell apart, one type, light lines.

The categorical colours are those of Okabe & Ito (2008), "Color Universal Design".
"""

from typing import Any

INK, MUTED, LINE = "#1d2733", "#5a6572", "#dde2e8"
BLUE, VERMILION, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SERIES = [BLUE, VERMILION, GREEN, PINK, "#56b4e9", "#e69f00", "#000000"]
# What a verdict is drawn in; an inconclusive one is grey.
VERDICT_COLOURS = {"helps": BLUE, "hurts": VERMILION, "equivalent": GREEN}
# From worse than unsteered to better; both ends differ in lightness from the middle.
DIVERGING = [VERMILION, "#f0b48a", "#f4f5f6", "#8cc0de", BLUE]
# What a file's text is measured with is as wide as Arial.
FONT = "Arial, 'Helvetica Neue', Helvetica, 'Liberation Sans', sans-serif"

# Width of the figures in files, in pixels; on the page they are as wide as there is room.
WIDTH = 640
PNG_SCALE = 2
# Around the figures in files. A reader without these fonts has a wider one: names grow to the left.
PADDING = {"left": 30, "right": 6, "top": 6, "bottom": 6}

_text = {"labelFont": FONT, "titleFont": FONT, "labelColor": INK, "titleColor": MUTED}
_sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}

# Vega-Lite's `config`.
CONFIG: dict[str, Any] = {
    "aria": False,  # a figure is one image to a screen reader, with its numbers in a table
    "font": FONT,
    "background": "white",
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        **_text,
        **_sizes,
        "domainColor": LINE,
        "tickColor": LINE,
        "gridColor": "#edf0f3",
        "labelPadding": 6,
        "titlePadding": 10,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 10},
    "legend": {
        **_text,
        **_sizes,
        "orient": "top",
        "direction": "horizontal",
        "columns": 3,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "title": None,
        "offset": 8,
        "columnPadding": 16,
    },
    "text": {"font": FONT, "fontSize": 12, "color": INK},
    "rule": {"color": MUTED},
}
