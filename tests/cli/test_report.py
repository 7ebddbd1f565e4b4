import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtc_transport.report import ReportError, draw_call, require_matplotlib
from rtc_transport.trace import CallTrace, Delays, TimedEvent

PNG = b"\x89PNG\r\n\x1a\n"


def trace_of_a_call() -> CallTrace:
    trace = CallTrace()
    voice = np.random.default_rng(1).uniform(-0.5, 0.5, 24_000).astype(np.float32)
    trace.sent.add(voice, 24_000, 0.2)
    trace.heard.add(voice, 24_000, 2.0)
    for at, type_ in [
        (0.1, "session.updated"),
        (0.3, "input_audio_buffer.speech_started"),
        (1.7, "input_audio_buffer.speech_stopped"),
        (1.9, "output_audio_buffer.started"),
        (2.5, "audio_interrupted"),
        (2.6, "output_audio_buffer.cleared"),
    ]:
        trace.add_event(TimedEvent(at, "received", {"type": type_}))
    trace.add_event(TimedEvent(2.7, "transport", {"type": "mute_change", "muted": True}))
    trace.add_delays(Delays(0.5, 31.0, jitter_ms=2.0))
    trace.add_delays(Delays(2.5, 45.0, 12.0, 3.0))
    return trace


def blueness(path: Path) -> int:
    """How many pixels have the colour of the user's voice."""
    from matplotlib.image import imread

    pixels = imread(path)[:, :, :3]
    return int((np.abs(pixels - np.array([0x2F, 0x6D, 0xB5]) / 255).max(axis=2) < 0.02).sum())


def test_the_picture_is_a_png_that_shows_both_voices(tmp_path: Path) -> None:
    drawn, empty = tmp_path / "call.png", tmp_path / "empty.png"
    draw_call(trace_of_a_call(), drawn, "Call", "3 s")
    draw_call(CallTrace(), empty, "Call that never was")
    assert drawn.read_bytes().startswith(PNG)
    width, height = struct.unpack(">II", drawn.read_bytes()[16:24])
    assert (width, height) == (1800, 930)
    assert blueness(drawn) > 10 * max(1, blueness(empty))


def trace_of_a_conversation(exchanges: int) -> CallTrace:
    trace, random, at = CallTrace(), np.random.default_rng(exchanges), 0.7
    trace.add_event(TimedEvent(at, "received", {"type": "session.updated"}))
    for i in range(exchanges):
        said, answered = random.uniform(0.3, 3.0, 2)
        trace.sent.add(random.uniform(-0.4, 0.4, int(24_000 * said)).astype(np.float32), 24_000, at)
        trace.heard.add(
            random.uniform(-0.4, 0.4, int(24_000 * answered)).astype(np.float32), 24_000, at + said + 0.7
        )
        for offset, type_ in [
            (0.1, "input_audio_buffer.speech_started"),
            (said + 0.5, "input_audio_buffer.speech_stopped"),
            (said + 0.6, "output_audio_buffer.started"),
            *([(said + answered, "audio_interrupted")] if i % 2 else []),
            (said + answered + 0.7, f"output_audio_buffer.{'cleared' if i % 2 else 'stopped'}"),
        ]:
            trace.add_event(TimedEvent(at + offset, "received", {"type": type_}))
        for offset, muted in ((0.8, True), (1.3, False)):
            timed = TimedEvent(
                at + said + answered + offset, "transport", {"type": "mute_change", "muted": muted}
            )
            trace.add_event(timed)
        at += said + answered + 0.8
    trace.add_event(TimedEvent(at, "received", {"type": "session.updated"}))
    return trace


@pytest.mark.parametrize("exchanges", [1, 6, 15, 40])
def test_no_label_runs_into_another_or_over_the_edge(monkeypatch: pytest.MonkeyPatch, exchanges: int) -> None:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    draw_call(trace_of_a_conversation(exchanges), "call.png", "Call", "3 s")
    (figure,) = figures
    texts = [
        text
        for axes in figure.axes
        for text in axes.get_children()
        if isinstance(text, Text) and text.get_text()
    ]
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0, texts[i]
        assert box.x1 <= figure.bbox.x1, texts[i]
        assert not [texts[j] for j in range(i) if boxes[j].overlaps(box)], texts[i]
    words = [text.get_text() for text in texts]
    assert len(words) > exchanges / 3
    assert words.count("connected") <= 1, "a change of the session is no connect"
    if exchanges == 1:
        assert any(word.startswith("heard as speech, ") for word in words)


def test_an_unwritable_picture_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"cannot write .*nowhere/call.png: no such file or directory"):
        draw_call(CallTrace(), tmp_path / "nowhere" / "call.png")


def test_without_matplotlib_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReportError) as caught:
        require_matplotlib()
    assert str(caught.value) == 'the picture needs matplotlib: pip install "rtc-transport[plots]"'


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, rtc_transport.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
