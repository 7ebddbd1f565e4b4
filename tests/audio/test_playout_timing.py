"""When a pull was due, and when an edit may be made."""

import itertools

import pytest

from rtc_audio.playout_timing import EditTiming, PullRhythm

RATE_HZ = 24000
LOUD, SOFT, SILENT = 1e-2, 2e-5, 0.0


def test_pulls_in_bursts_are_due_at_the_burst() -> None:
    rhythm = PullRhythm(RATE_HZ)
    due = [rhythm.due(240, 5 + step * 0.02) for step in range(50) for _ in (0, 1)]
    steps = [later - earlier for earlier, later in itertools.pairwise(due[10:])]
    assert steps == [pytest.approx(0.01, abs=0.0001)] * len(steps)
    assert all(at <= 5 + number // 2 * 0.02 + 1e-9 for number, at in enumerate(due))


def test_late_pulls_do_not_move_the_rhythm_but_a_gap_does() -> None:
    rhythm = PullRhythm(RATE_HZ)
    for step in range(20):
        assert rhythm.due(240, step * 0.01 + (0.004 if step % 5 else 0)) == pytest.approx(
            step * 0.01, abs=0.001
        )
    assert rhythm.due(240, 9.0) == 9.0


def test_a_small_error_waits_for_a_pause_but_not_for_ever() -> None:
    timing = EditTiming(RATE_HZ)
    timing.right(0.0)
    decided = [timing.when(240, LOUD if step < 50 else SILENT, step * 0.01) for step in range(70)]
    assert set(decided[:59]) == {"later"}
    assert decided[60:] == ["silence"] * 10
    timing.right(1.0)
    decided = [timing.when(240, LOUD, 1 + step * 0.1) for step in range(25)]
    assert decided == ["later"] * 20 + ["sound"] * 5


def test_a_large_error_waits_less() -> None:
    timing = EditTiming(RATE_HZ)
    timing.right(0.0)
    timing.when(0, LOUD, 0.0)
    assert timing.when(960, SOFT, 0.01) == "silence"
    assert timing.when(960, LOUD, 0.02) == "sound"
    timing.edited(0.02)
    assert timing.when(960, LOUD, 0.03) == "later"
    assert timing.when(960, LOUD, 0.06) == "sound"
    timing.edited(0.06)
    assert timing.when(1920, LOUD, 0.07) == "sound"


def test_an_error_that_was_large_goes_to_its_end() -> None:
    timing = EditTiming(RATE_HZ)
    timing.right(0.0)
    assert timing.when(960, LOUD, 0.0) == "sound"
    timing.edited(0.0)
    assert timing.when(240, LOUD, 0.03) == "sound"
    timing.edited(0.03)
    timing.right(0.04)
    assert timing.when(240, LOUD, 0.1) == "later"


def test_sound_that_never_repeats_itself_does_not_wait_for_ever() -> None:
    timing = EditTiming(RATE_HZ)
    timing.right(0.0)
    assert [timing.when(960, LOUD, at * 0.5) for at in range(10)] == ["sound"] * 10
    assert timing.when(960, LOUD, 5.0) == "anything"
    timing.edited(5.0)
    assert timing.when(960, LOUD, 9.9) == "sound"
    assert timing.when(960, LOUD, 10.0) == "anything"
    assert timing.when(240, LOUD, 30.0) == "sound"
