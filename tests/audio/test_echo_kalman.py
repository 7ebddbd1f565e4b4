"""The built-in echo canceller, by its figures on synthetic scenes."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from rtc_audio.echo import EchoCanceller
from rtc_audio.echo_kalman import KalmanEchoCanceller
from rtc_audio.errors import UnsupportedFormat
from support.echo_scenes import (
    RATE_HZ,
    Outcome,
    Scene,
    cancel,
    decibels,
    in_blocks,
    rms,
    scene,
    shipped_speech,
    speech_like,
)

BLOCK, LATE = RATE_HZ // 50, RATE_HZ // 100
SILENCE = np.zeros(BLOCK, np.float32)


def check(outcome: Outcome, erle_db: float, near_sdr_db: float) -> None:
    """The figures to reach: nothing gets through at first, little after 5 s, and who talks meanwhile is kept."""
    assert outcome.erle_db(0.3, 5) >= 20
    assert outcome.erle_db(5.5, 10) >= erle_db
    assert outcome.near_gain_db >= -3
    assert outcome.si_sdr_db >= near_sdr_db


@pytest.mark.parametrize("delay_ms", [5, 150, 400])
def test_linear_rooms(delay_ms: float) -> None:
    check(cancel(KalmanEchoCanceller(), scene(delay_ms=delay_ms)), erle_db=25, near_sdr_db=10)


@pytest.mark.parametrize("drift_ppm", [100, -100])
def test_clocks_that_drift(drift_ppm: float) -> None:
    canceller = KalmanEchoCanceller()
    check(cancel(canceller, scene(drift_ppm=drift_ppm)), erle_db=25, near_sdr_db=10)
    assert canceller.drift_ppm == pytest.approx(drift_ppm, abs=10)


@pytest.mark.parametrize("drive", [2, 4])
def test_nonlinear_loudspeaker(drive: float) -> None:
    check(cancel(KalmanEchoCanceller(), scene(drive=drive)), erle_db=15, near_sdr_db=8)


def test_loud_echo_and_faint_talker() -> None:
    check(cancel(KalmanEchoCanceller(), scene(echo_db=3, near_db=-9)), erle_db=25, near_sdr_db=8)


def test_at_24_khz() -> None:
    check(cancel(KalmanEchoCanceller(24000), scene(rate_hz=24000)), erle_db=25, near_sdr_db=10)


def test_another_room_is_learnt() -> None:
    changed = scene(seconds=14, change_at=5, talk=(13.9, 14))
    assert cancel(KalmanEchoCanceller(), changed).erle_db(10, 13.9) >= 25


def changed(at: float, before: Scene, after: Scene) -> Scene:
    """One scene until a time, then another."""
    frame = round(at * RATE_HZ)
    return replace(
        before,
        microphone=np.concatenate([before.microphone[:frame], after.microphone[frame:]]),
        echo=np.concatenate([before.echo[:frame], after.echo[frame:]]),
    )


def test_another_delay_is_found() -> None:
    """As when another output device takes over, and again: within half a second nobody hears the echo any more."""
    near, far = (scene(seconds=19, talk=(18.9, 19), delay_ms=delay_ms) for delay_ms in (90, 220))
    canceller = KalmanEchoCanceller()
    outcome = cancel(canceller, changed(13, changed(7, near, far), near))
    assert outcome.erle_db(8.2, 13) >= 25
    assert outcome.erle_db(14.2, 18.9) >= 25
    assert 0.04 <= canceller.delay_seconds <= 0.09


def headset() -> Scene:
    """Nothing of the far end is in the microphone; the near end is as loud as ever."""
    return scene(seconds=22, talk=(14, 20), echo_db=-90, near_db=84)


def check_conversation(outcome: Outcome) -> None:
    assert outcome.near_gain_db >= -3
    assert outcome.si_sdr_db >= 9


def test_a_headset_makes_no_call_half_duplex() -> None:
    """Silence in the microphone must not be taken for an echo that goes wrong, again and again."""
    check_conversation(cancel(KalmanEchoCanceller(), headset()))


def test_a_headset_that_is_plugged_in() -> None:
    loud = scene(seconds=22, talk=(14, 20))
    check_conversation(cancel(KalmanEchoCanceller(), changed(8, loud, headset())))


def test_a_headset_that_is_pulled_out() -> None:
    loud = scene(seconds=22, talk=(14, 20))
    outcome = cancel(KalmanEchoCanceller(), changed(8, headset(), loud))
    assert outcome.erle_db(9.5, 14) >= 25
    check_conversation(outcome)


def test_a_constant_in_the_microphone_does_no_harm() -> None:
    heard = scene()
    heard.microphone[:] += 0.05
    check(cancel(KalmanEchoCanceller(), heard), erle_db=25, near_sdr_db=10)


def test_microphone_that_clips_does_not_stop_it() -> None:
    heard = scene(echo_db=6, near_db=-6)
    np.clip(heard.microphone, -0.4, 0.4, out=heard.microphone)
    outcome = cancel(KalmanEchoCanceller(), heard)
    assert outcome.erle_db(5.5, 10) >= 15
    assert outcome.near_gain_db >= -6


def test_a_long_call_changes_nothing() -> None:
    """Almost four minutes with pauses in both: the state is of one size, the figures are those of the beginning."""
    heard, canceller = scene(), KalmanEchoCanceller()
    pause = np.zeros(2 * RATE_HZ, np.float32)
    far, near = (np.concatenate([pcm, pause]) for pcm in (heard.far, heard.microphone))
    size = len(pickle.dumps(canceller))
    for _ in range(15):
        for pair in in_blocks(BLOCK, far, near):
            canceller.process(*pair)
    assert len(pickle.dumps(canceller)) == pytest.approx(size, rel=0.1)
    outcome = cancel(canceller, heard)
    assert outcome.erle_db(0.3, 10) >= 25
    assert outcome.near_gain_db >= -3


@pytest.mark.parametrize(
    ("drive", "echo_db", "near_db", "least"), [(0, -6, 0, 0.9), (2, -6, 0, 0.85), (0, 3, -9, 0.85)]
)
def test_talker_stays_intelligible(drive: float, echo_db: float, near_db: float, least: float) -> None:
    stoi = pytest.importorskip("pystoi").stoi
    voice = shipped_speech()
    talk = (8.0, 8.0 + len(voice) / RATE_HZ)
    heard = scene(seconds=13, talk=talk, voice=voice, drive=drive, echo_db=echo_db, near_db=near_db)
    near, out = cancel(KalmanEchoCanceller(), heard).double_talk
    assert stoi(near, out, RATE_HZ) >= least


def test_alone_the_talker_comes_through_unharmed() -> None:
    """But for what is slower than sound."""
    voice = (0.1 * speech_like(3, 5)).astype(np.float32)
    canceller = KalmanEchoCanceller()
    out = np.concatenate([canceller.process(SILENCE, block) for block in voice.reshape(-1, BLOCK)])
    assert decibels(rms(out[LATE:] - voice[:-LATE]) / rms(voice)) < -45
    assert canceller.erle_db is None


def test_gate_opens_although_nothing_can_be_cancelled() -> None:
    """A headset: far end talks all the time and is not in the microphone."""
    far = 0.3 * speech_like(10, 1).astype(np.float32)
    voice = (0.1 * speech_like(10, 5)).astype(np.float32)
    canceller = KalmanEchoCanceller()
    out = np.concatenate([canceller.process(*pair) for pair in in_blocks(BLOCK, far, voice)])
    first, last = slice(0, 4 * RATE_HZ), slice(7 * RATE_HZ, None)
    assert rms(out[first]) < 0.1 * rms(voice[first])
    assert rms(out[last]) > 0.8 * rms(voice[last])


def test_return_loss_is_reported() -> None:
    canceller = KalmanEchoCanceller()
    outcome = cancel(canceller, scene(seconds=12, talk=(0, 0.01)))
    assert canceller.erle_db == pytest.approx(outcome.erle_db(10, 12), abs=4)


def test_reset_is_a_new_beginning() -> None:
    heard = scene(seconds=3, talk=(2, 3))
    used = KalmanEchoCanceller()
    cancel(used, scene(seconds=3, talk=(2, 3), delay_ms=150, drift_ppm=100))
    used.reset()
    np.testing.assert_array_equal(cancel(used, heard).out, cancel(KalmanEchoCanceller(), heard).out)
    assert used.drift_ppm == pytest.approx(0, abs=100)


def test_samples_that_are_not_finite_do_no_harm() -> None:
    heard = scene(seconds=8, talk=(7.99, 8))
    heard.far[100] = heard.microphone[2 * RATE_HZ] = np.nan
    heard.far[3 * RATE_HZ] = heard.microphone[100] = np.inf
    outcome = cancel(KalmanEchoCanceller(), heard)
    assert np.isfinite(outcome.out).all()
    assert outcome.erle_db(6, 7.9) >= 20


def test_arguments_are_left_as_they_are() -> None:
    far, near = np.full(BLOCK, np.nan, np.float32), np.full(BLOCK, 0.5, np.float32)
    KalmanEchoCanceller().process(far, near)
    assert np.isnan(far).all()
    assert (near == 0.5).all()


def test_other_rates_are_refused() -> None:
    with pytest.raises(
        UnsupportedFormat, match="rate_hz=48000: the Kalman echo canceller runs at 16000 or 24000"
    ):
        KalmanEchoCanceller(48000)


def test_it_is_an_echo_canceller() -> None:
    assert isinstance(KalmanEchoCanceller(), EchoCanceller)
