import json
import sys

import pytest

from support.command_line import ROOT, read_wav

sys.path.insert(0, str(ROOT / "scripts"))
import bench
import make_speech
from bench_common import Row

ROWS = [
    Row("delay", ours=4.2, anchor=82.0, ratio=0.0512, goal="≤ 5 ms", unit="ms", met=True),
    Row("loss", ours="none", anchor="6 %", ratio=None, goal="none", unit="", met=None),
]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Benches that measure nothing; the list notes what was run."""
    runs: list[tuple[str, bool]] = []

    def run_bench(name: str, *, quick: bool) -> list[Row]:
        runs.append((name, quick))
        return ROWS

    monkeypatch.setattr(bench, "run_bench", run_bench)
    monkeypatch.setattr(bench, "bench_names", lambda: ["events", "media"])
    return runs


def test_the_table_has_ratio_and_goal(
    capsys: pytest.CaptureFixture[str], measured: list[tuple[str, bool]]
) -> None:
    assert bench.main(["media", "--quick"]) == 0
    text = capsys.readouterr().out
    assert measured == [("media", True)]
    for word in ("4.2", "82", "0.0512", "≤ 5 ms", "met", "none"):
        assert word in text


def test_json_is_all_that_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["events", "media", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["benches"]) == ["events", "media"]
    assert told["benches"]["media"][0]["ratio"] == 0.0512
    assert "Python" in told["machine"]


def test_a_missed_goal_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = Row("delay", 9.0, 82.0, 0.11, "≤ 5 ms", "ms", met=False)
    monkeypatch.setattr(bench, "run_bench", lambda name, *, quick: [missed])
    assert bench.main(["media"]) == 1
    assert "missed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [([], "name a bench: events, media"), (["tea"], "no bench 'tea'; there are: events, media")],
)
def test_wrong_names(capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str) -> None:
    with pytest.raises(SystemExit) as caught:
        bench.main(arguments)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_every_bench_has_a_run() -> None:
    for path in (ROOT / "scripts").glob("bench_*.py"):
        if path.stem != "bench_common":
            assert "def run(quick: bool) -> list[Row]" in path.read_text(encoding="utf-8"), path.name


def test_the_shell_scripts_are_short_executable_and_portable() -> None:
    for name in ("install", "demo", "test", "check", "bench"):
        path = ROOT / "scripts" / name
        assert path.stat().st_mode & 0o111, f"{name} cannot be run"
        assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 30


def test_the_shipped_speech_is_one_turn() -> None:
    pcm, rate_hz = read_wav(make_speech.SPEECH)
    assert rate_hz == 24_000
    assert 3 <= len(pcm) / rate_hz <= 6
    assert abs(pcm).max() == pytest.approx(10 ** (-3 / 20), abs=0.001)
    assert make_speech.longest_pause_seconds(pcm, rate_hz) <= 0.35
