"""Calls through real PortAudio and a real sound server: heard, answered, interrupted, echo, loss and return."""

import functools
from pathlib import Path

import pytest

from support.virtual_audio import reason_to_skip, run_scenario

SKIPPED = reason_to_skip()

pytestmark = [
    pytest.mark.skipif(SKIPPED is not None, reason=SKIPPED or ""),
    pytest.mark.timeout(90),  # a sound server of its own for each, and real time
]

run = functools.partial(run_scenario, scenarios=Path(__file__).parent / "call_scenarios.py")


def test_what_the_microphone_hears_is_answered_through_the_loudspeaker() -> None:
    seen = run("conversation")
    heard_hz, heard_rms = seen["heard"]
    assert heard_hz == pytest.approx(700, abs=4)
    assert heard_rms == pytest.approx(0.5 / 2**0.5, rel=0.15)
    answer_hz, answer_rms = seen["answer"]
    assert answer_hz == pytest.approx(700, abs=4)
    assert answer_rms == pytest.approx(0.5 / 2**0.5, rel=0.25)
    said, answered = seen["seconds"]
    assert answered == pytest.approx(said, rel=0.25)
    assert 0 < seen["input_latency_ms"] < 200
    assert 0 < seen["output_latency_ms"] < 300
    assert (
        seen["response_latency_ms"] > 400
    )  # the silence by which the server knows that somebody has finished


def test_interrupt_silences_the_loudspeaker_within_60_ms_without_a_click() -> None:
    """The median of five; on a machine with too much to do the sound server takes longer: the best of three runs.

    What the driver is given afterwards is ours alone, in each: at most the block under way and a fade of 5 ms. A 440 Hz
    tone of 0.1 has steps of up to 0.006; a cut would be one of up to 0.1.
    """
    medians: list[float] = []
    while len(medians) < 3 and not any(median <= 0.06 for median in medians):
        seen = run("interrupt")
        assert 0.004 < max(seen["largest_steps"]) < 0.009
        assert max(seen["given_seconds"]) <= 0.0151
        medians.append(sorted(seen["silent_after_seconds"])[2])
    assert min(medians) <= 0.06, medians


def test_a_sound_server_that_dies_and_comes_back_costs_the_call_nothing_but_sound() -> None:
    seen = run("server_restarted")
    assert seen["before"][0] == pytest.approx(1000, abs=4)
    assert seen["noticed_seconds"] < 1.0
    assert seen["silence_rms"] < 0.001
    assert 35 <= seen["packets_in_a_second"] <= 60
    assert seen["after"][0] == pytest.approx(1000, abs=4)
    for events in seen["events"]:
        assert events[0] == "device_lost"
        assert events[-1] in ("device_restored", "device_changed")
    assert (seen["status"], seen["muted"]) == ("connected", False)


def test_a_microphone_that_is_removed_behind_the_sound_server_is_told() -> None:
    """The server goes on calling back: three seconds of zeros tell, or that the stream stands still meanwhile."""
    seen = run("microphone_removed")
    assert "device_silent" in seen["events"]
    assert (seen["status"], seen["muted"]) == ("connected", True)


def test_the_call_follows_the_default_microphone() -> None:
    seen = run("default_changed")
    assert seen["packets"] >= 60
    assert seen["heard_rms"] < 0.01  # nobody speaks there
    assert seen["status"] == "connected"


@pytest.mark.parametrize(("mode", "most", "least"), [("auto", 1, 1), ("off", 99, 2)])
def test_the_parrot_does_not_answer_itself(mode: str, most: int, least: int) -> None:
    """The path of the sound server wavers in time, so little can be cancelled: here the start-up gate holds."""
    seen = run("echo_path", mode)
    assert least <= seen["answers"] <= most
    assert (seen["return_loss_db"] is not None) == (mode == "auto")
