"""The dashboard of the chart, drawn into the file that is named. Its panels, with what their queries found, come on
standard input.

Grafana cannot be had from any package registry. Of what it does to a panel this does what the dashboard asks for, and
what it does not know is an error: no picture shows less than the file says.
"""

import json
import math
import sys
from datetime import datetime, timezone

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

matplotlib.rcParams["svg.hashsalt"] = "dashboard"

CAPTION = "drawn by cargo pictures from the dashboard file over real metrics; Grafana draws it in its own way"
# Pixels. A dashboard has 24 columns.
COLUMN, ROW, GAP, HEAD, FOOT = 50, 36, 8, 64, 34
WIDTH = 24 * COLUMN + GAP
PAGE, PANEL, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#2d3036", "#d8d9e0", "#8e9098"
COLORS = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44"}
LINES = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9"]
# What Grafana takes where a panel has none.
STEPS = [{"color": "green", "value": None}, {"color": "red", "value": 80}]


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def written(value, unit):
    """A value in its unit, as Grafana writes it."""
    if unit is None:
        return number(value)
    if unit == "dateTimeAsIso":
        return datetime.fromtimestamp(value / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    units = {
        "s": [(1, "s"), (60, "mins"), (3600, "hours"), (86400, "days")],
        "bytes": [(1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")],
    }[unit]
    size, name = max((one for one in units if one[0] <= abs(value)), default=units[0])
    return f"{number(value / size)} {name}"


def width(text, size):
    return TextPath((0, 0), text, size=size).get_extents().width if text.strip() else 0


def fitting(text, size, room):
    """As much of it as there is room for."""
    if width(text, size) <= room:
        return text
    while text and width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


class Page:
    """The picture, in pixels from its upper left corner."""

    def __init__(self, board):
        self.begin, self.end = board["from"], board["to"]
        bottom = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in board["panels"])
        self.height = HEAD + bottom * ROW + FOOT
        # A pixel is a point.
        size = (WIDTH / 72, self.height / 72)
        self.figure = Figure(figsize=size, dpi=72, facecolor=PAGE)
        self.ground = self.axes(0, 0, WIDTH, self.height)
        self.ground.set(xlim=(0, WIDTH), ylim=(self.height, 0))
        self.ground.axis("off")

    def axes(self, x, y, w, h):
        place = (x / WIDTH, 1 - (y + h) / self.height, w / WIDTH, h / self.height)
        return self.figure.add_axes(place)

    def box(self, x, y, w, h, color, edge="none"):
        self.ground.add_patch(Rectangle((x, y), w, h, facecolor=color, edgecolor=edge))

    def text(self, x, y, text, size=12, color=TEXT, **more):
        self.ground.text(x, y, text, size=size, color=color, va="center", **more)


def stat(page, panel, x, y, w, h):
    """A tile for each series, with the colour of its last value."""
    options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
    known = {"textMode": "value_and_name", "colorMode": "background", "graphMode": "none"}
    if any(options[name] != value for name, value in known.items()):
        raise ValueError(f"{panel['title']}: {options}")
    frames = panel["frames"]
    across = min(len(frames), max(1, int(w // 120)))
    down = math.ceil(len(frames) / across)
    wide, high = w / across, h / down
    for at, frame in enumerate(frames):
        left, top = x + at % across * wide, y + at // across * high
        value = frame["points"][-1][1]
        shown, color = looks(value, defaults)
        page.box(left + 2, top + 2, wide - 4, high - 4, color)
        name, middle = frame["name"], {"ha": "center", "color": "white"}
        if not shown.strip():
            size = min(20, high * 0.4)
            page.text(left + wide / 2, top + high / 2, fitting(name, size, wide - 16), size, **middle)
            continue
        size = min(30, high * 0.36)
        page.text(left + wide / 2, top + high * 0.34, fitting(name, 13, wide - 16), 13, **middle)
        page.text(left + wide / 2, top + high * 0.68, fitting(shown, size, wide - 16), size, **middle)


def looks(value, defaults):
    """The text of a value, and its colour."""
    mapped = {}
    for mapping in defaults.get("mappings", []):
        if mapping["type"] != "value":
            raise ValueError(f"a mapping of the kind {mapping['type']}")
        mapped = mapping["options"].get(number(value), mapped)
    steps = defaults.get("thresholds", {"steps": STEPS})["steps"]
    reached = [one["color"] for one in steps if one["value"] is None or one["value"] <= value]
    color = mapped.get("color", reached[-1])
    return mapped.get("text", written(value, defaults.get("unit"))), COLORS[color]


def timeseries(page, panel, x, y, w, h):
    """A line for each series, on the left axis or the right one, and what they are called below."""
    unit = panel["fieldConfig"]["defaults"].get("unit")
    sides = {}
    for at, frame in enumerate(panel["frames"]):
        own = override(panel, frame["name"])
        side = own.get("custom.axisPlacement", "left")
        line = (frame, LINES[at % len(LINES)])
        sides.setdefault((side, own.get("unit", unit)), []).append(line)
    left = None
    for (side, unit), lines in sorted(sides.items(), key=lambda one: one[0][0]):
        if left is None:
            axes = left = page.axes(x + 70, y + 6, w - (140 if len(sides) > 1 else 84), h - 54)
            axes.set_facecolor("none")
        else:
            axes = left.twinx()
        top = 0
        for frame, color in lines:
            times, values = zip(*frame["points"])
            axes.plot(times, values, color=color, linewidth=1.6)
            top = max(top, *values)
        scale(axes, top, unit)
        if side == "right":
            axes.yaxis.tick_right()
        axes.tick_params(colors=FAINT, labelsize=11, length=0)
        axes.spines[:].set_visible(False)
    left.grid(color=EDGE, linewidth=0.8)
    clock(left, page, w)
    at = x + 16
    for lines in sides.values():
        for frame, color in lines:
            name = fitting(frame["name"], 12, x + w - at - 30)
            page.box(at, y + h - 17, 14, 3, color)
            page.text(at + 20, y + h - 15, name)
            at += 38 + width(name, 12)


def override(panel, name):
    """What the panel wants otherwise of a series."""
    own = {}
    for one in panel["fieldConfig"]["overrides"]:
        if one["matcher"]["id"] != "byName":
            raise ValueError(f"{panel['title']}: {one['matcher']}")
        if one["matcher"]["options"] == name:
            own.update((it["id"], it["value"]) for it in one["properties"])
    return own


def scale(axes, top, unit):
    axes.set_ylim(0, top * 1.12 or 1)
    if unit == "bytes" and top > 0:
        step = 2 ** math.ceil(math.log2(top / 4))
        axes.yaxis.set_major_locator(FixedLocator([step * at for at in range(5)]))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))


def clock(axes, page, w):
    """Whole minutes, as many as there is room for."""
    axes.set_xlim(page.begin, page.end)
    minutes = math.ceil((page.end - page.begin) / 60 / (w / 90))
    first = math.ceil(page.begin / 60) * 60
    axes.xaxis.set_major_locator(FixedLocator(range(first, int(page.end) + 1, 60 * minutes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: moment(time, "%H:%M")))


def moment(seconds, form):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def table(page, panel, x, y, w, h):
    """A line for each series: its labels, and its value."""
    unit = panel["fieldConfig"]["defaults"].get("unit")
    hidden, renamed = {}, {}
    for one in panel.get("transformations", []):
        if one["id"] != "organize" or set(one["options"]) - {"excludeByName", "renameByName"}:
            raise ValueError(f"{panel['title']}: {one}")
        hidden.update(one["options"].get("excludeByName", {}))
        renamed.update(one["options"].get("renameByName", {}))
    lines = []
    for frame in panel["frames"]:
        time, value = frame["points"][-1]
        cells = {"Time": moment(time, "%Y-%m-%d %H:%M:%S"), **frame["labels"], "Value": written(value, unit)}
        lines.append({renamed.get(name, name): cell for name, cell in cells.items() if not hidden.get(name)})
    names = list(lines[0])
    needed = [max(width(text, 12) for text in [name, *(line[name] for line in lines)]) for name in names]
    spread = (w - 24) / (sum(needed) + 14 * len(needed))
    rows = [dict(zip(names, names)), *lines][: int((h - 8) // 24)]
    for at, row in enumerate(rows):
        middle, left = y + 14 + at * 24, x + 12
        if at:
            page.box(x + 8, middle - 12, w - 16, 0.8, EDGE)
        for name, wide in zip(names, needed):
            room = (wide + 14) * spread
            color = TEXT if at else "#6e9fff"
            page.text(left, middle, fitting(row[name], 12, room - 8), color=color)
            left += room


def draw(page, panel):
    place = panel["gridPos"]
    x, y = GAP + place["x"] * COLUMN, HEAD + place["y"] * ROW
    w, h = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
    if panel["type"] == "row":
        page.text(x + 4, y + h / 2, f"▾  {panel['title']}", 15, weight="bold")
        return
    kinds = {"stat": stat, "timeseries": timeseries, "table": table}
    page.box(x, y, w, h, PANEL, EDGE)
    page.text(x + 10, y + 16, fitting(panel["title"], 13, w - 20), 13, weight="bold")
    kinds[panel["type"]](page, panel, x + 2, y + 30, w - 4, h - 32)


def main(picture):
    board = json.load(sys.stdin)
    page = Page(board)
    page.text(GAP + 4, 32, board["title"], 22, weight="bold")
    times = f"{moment(board['from'], '%Y-%m-%d %H:%M:%S')} to {moment(board['to'], '%H:%M:%S')} UTC"
    page.text(WIDTH - GAP, 32, times, 13, FAINT, ha="right")
    for panel in board["panels"]:
        draw(page, panel)
    page.text(WIDTH / 2, page.height - FOOT / 2, CAPTION, 13, FAINT, ha="center")
    page.figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(sys.argv[1])
