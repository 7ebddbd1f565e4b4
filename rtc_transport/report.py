"""One picture of a call: both voices on one time axis, turns, mute and interrupt marks, delays.

Needs matplotlib (the extra ``plots``), which is imported on use.
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from .errors import TransportError
from .trace import CallTrace, Lane, Peaks, latencies, muted_spans, turns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[Lane, str] = {"user": "#2f6db5", "model": "#cf6a1e"}
NAMES: dict[Lane, str] = {"user": "you", "model": "model"}
DELAYS = {"playout": "#2b2f36", "round trip": "#2a8a6e", "jitter": "#8a5fbf"}
"""What is drawn of `trace.Delays`, in its order."""

ALARM, INK, FAINT, GRID = "#b3261e", "#2b2f36", "#7a828e", "#e6e9ed"


class ReportError(TransportError):
    """The picture cannot be drawn: matplotlib is missing, or the file cannot be written."""


def require_matplotlib() -> None:
    """Raises `ReportError` with the sentence that installs it; asked before a call, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ReportError('the picture needs matplotlib: pip install "rtc-transport[plots]"')


def draw_call(trace: CallTrace, path: str | os.PathLike[str], title: str = "", subtitle: str = "") -> None:
    """Draws the call into a PNG file of 1800 × 930 pixels. Blocks for about a second; raises `ReportError`."""
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.unicode_minus": True}):
        figure = Figure(figsize=(12, 6.2), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, trace, title, subtitle)
        try:
            figure.savefig(os.fspath(path), format="png")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ReportError(f"cannot write {os.fspath(path)}: {reason}") from error


def _draw(figure: "Figure", trace: CallTrace, title: str, subtitle: str) -> None:
    end = max(trace.seconds, 1.0)
    layout = {"left": 0.07, "right": 0.985, "top": 0.845, "bottom": 0.085, "hspace": 0.24}
    user, model, delay = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5), gridspec_kw=layout)
    figure.text(0.07, 0.945, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.07, 0.903, subtitle, fontsize=10, color=FAINT)
    for axes in (user, model, delay):
        _plain(axes)
    delay.set_xlim(0, end * 1.005)
    _draw_voice(user, trace.sent, "user")
    _draw_voice(model, trace.heard, "model")
    _draw_turns({"user": user, "model": model}, trace, end)
    _draw_marks(user, model, trace, end)
    _draw_latencies(user, model, trace)
    _draw_delays(delay, trace)
    delay.xaxis.get_major_locator().set_params(nbins=16, steps=[1, 2, 5, 10])
    delay.set_xlabel("seconds since the connect began", color=INK)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=FAINT, length=0, labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_voice(axes: "Axes", peaks: Peaks, lane: Lane) -> None:
    time, low, high = peaks.outline()
    loudest = float(max(high.max(initial=0), -low.min(initial=0), 0.05))
    axes.fill_between(time, low, high, color=COLOURS[lane], linewidth=0.4)
    axes.set_ylim(-1.15 * loudest, 1.15 * loudest)
    axes.set_yticks([0], [NAMES[lane]], fontsize=12, fontweight="bold", color=COLOURS[lane])
    decibels = f"peak {20 * np.log10(loudest):.0f} dB".replace("-", "−") if loudest > 0.05 else "quiet"
    axes.text(-0.008, 0.36, decibels, transform=axes.transAxes, ha="right", fontsize=7.5, color=FAINT)


def _draw_turns(lanes: dict[Lane, "Axes"], trace: CallTrace, end: float) -> None:
    words: dict[Lane, str] = {"user": "heard as speech", "model": "answer"}
    labels: dict[Lane, list[_Label]] = {"user": [], "model": []}
    for turn in turns(trace.events, end):
        axes, colour = lanes[turn.lane], COLOURS[turn.lane]
        axes.axvspan(turn.start, turn.end, color=colour, alpha=0.1, linewidth=0)
        axes.plot(
            [turn.start, turn.end], [0.985, 0.985], transform=axes.get_xaxis_transform(), color=colour, lw=3
        )
        length = f"{turn.end - turn.start:.1f} s"
        text = f"{words[turn.lane]}, {length}" + (", cut off" if turn.cut else "")
        labels[turn.lane].append(_Label(turn.start, (text, length), colour))
    for lane, axes in lanes.items():
        _write(axes, 1.02, labels[lane], va="bottom")


def _draw_marks(user: "Axes", model: "Axes", trace: CallTrace, end: float) -> None:
    mutes, marks, connected = [], [], False
    for start, stop in muted_spans(trace.events, end):
        user.axvspan(
            start, stop, facecolor="#f1f2f4", edgecolor="#c3c8d0", hatch="///", linewidth=0, zorder=1.5
        )
        mutes.append(_Label(start, ("muted",), FAINT))
    for timed in trace.events:
        if timed.type == "session.updated" and not connected:
            connected = True  # later ones change the session
            for axes in (user, model):
                axes.axvline(timed.seconds, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
            marks.append(_Label(timed.seconds, ("connected",), FAINT))
        elif timed.type == "audio_interrupted":
            for axes in (user, model):
                axes.axvline(timed.seconds, color=ALARM, linewidth=1.6)
            marks.append(_Label(timed.seconds, ("interrupted",), ALARM))
    _write(user, 0.04, mutes, indent=4, background="white")
    _write(model, 0.04, marks, indent=4, background="white")


def _draw_latencies(user: "Axes", model: "Axes", trace: CallTrace) -> None:
    place = model.get_xaxis_transform()
    arrow = {"arrowstyle": "<|-|>", "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    labels = []
    for spoken, answered in latencies(trace):
        ends = (answered, 0.72), (spoken, 0.72)
        model.annotate("", *ends, xycoords=place, textcoords=place, arrowprops=arrow)
        labels.append(_Label((spoken + answered) / 2, (f"{1000 * (answered - spoken):.0f} ms",), INK))
        for axes in (user, model):
            axes.axvline(spoken, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    _write(model, 0.75, labels, ha="center")


def _draw_delays(axes: "Axes", trace: CallTrace) -> None:
    axes.set_ylabel("delay, ms", fontsize=9, color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    table = np.array(trace.delays, dtype=np.float64).reshape(-1, 1 + len(DELAYS))
    largest = 10.0
    for column, (name, colour) in enumerate(DELAYS.items(), start=1):
        known = table[np.isfinite(table[:, column]) & (table[:, column] > 0)]
        if len(known):
            axes.plot(known[:, 0], known[:, column], color=colour, linewidth=1.4, label=name)
            largest = max(largest, float(known[:, column].max()))
    axes.set_ylim(0, 1.35 * largest)
    if axes.lines:
        axes.legend(
            loc="upper right", ncols=3, frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=0
        )


class _Label(NamedTuple):
    """A text at a time: the first of its wordings for which there is room."""

    seconds: float
    wordings: tuple[str, ...]
    colour: str


def _write(
    axes: "Axes",
    height: float,
    labels: Sequence[_Label],
    *,
    ha: Literal["left", "center"] = "left",
    va: Literal["bottom", "baseline"] = "baseline",
    indent: float = 0,
    background: str = "none",
) -> None:
    """Writes labels in their order on one height, none into another or over the edge; some may find no room."""
    left, right = axes.figure.bbox.x0, axes.figure.bbox.x1
    starts = [axes.transData.transform((label.seconds, 0))[0] for label in labels]
    for label, following in zip(labels, [*starts, right][1:], strict=True):
        for text in label.wordings:
            note = axes.annotate(
                text,
                (label.seconds, height),
                xycoords=axes.get_xaxis_transform(),
                xytext=(indent, 2 if va == "bottom" else 0),
                textcoords="offset points",
                ha=ha,
                va=va,
                fontsize=8.5,
                color=label.colour,
                annotation_clip=False,
                bbox={"facecolor": background, "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
            box = note.get_window_extent()
            room = following - (box.width / 2 if ha == "center" and following < right else 0)
            if left <= box.x0 and box.x1 + box.height / 2 <= room:
                left = box.x1 + box.height / 2
                break
            note.remove()
