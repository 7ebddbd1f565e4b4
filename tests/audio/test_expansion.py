"""Made-up speech and time scaling: right period, no clicks, whole periods only."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.expansion import Background, Expansion, best_match, bridge, crossfade, pitch_period
from rtc_audio.tape import Tape
from rtc_audio.time_scale import energy, lengthen, shorten
from support.voice_link import roughness

RATE_HZ = 24000


def tone(hz: float, seconds: float = 0.1) -> NDArray[np.float32]:
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * hz * at) + 0.1 * np.sin(4 * np.pi * hz * at)).astype(np.float32)


@pytest.mark.parametrize("hz", [80, 120, 200, 300])
def test_the_pitch_is_found(hz: float) -> None:
    period, match = pitch_period(tone(hz), RATE_HZ)
    assert match > 0.99
    assert (
        period % (RATE_HZ / hz) == pytest.approx(0, abs=1.5) or period % (RATE_HZ / hz) > RATE_HZ / hz - 1.5
    )


def test_the_best_match_is_where_the_template_comes_from() -> None:
    region = np.random.default_rng(1).standard_normal(600).astype(np.float32)
    position, match = best_match(region[217:317], region)
    assert position == 217
    assert match == pytest.approx(1.0)


def test_an_expansion_goes_on_and_fades() -> None:
    past = tone(150)
    expansion = Expansion(past, RATE_HZ)
    made = np.concatenate([expansion.take(240) for _ in range(15)])
    assert roughness(np.concatenate((past, made))) < 1.2 * roughness(past)
    assert made[:480].std() == pytest.approx(past.std(), rel=0.1)
    assert made[-240:].std() < 0.1 * past.std()
    assert expansion.faded
    assert expansion.silent
    assert not expansion.take(240).any()


def test_expansions_of_silence_and_noise_are_harmless() -> None:
    assert not Expansion(np.zeros(1440, np.float32), RATE_HZ).take(480).any()
    noise = (0.1 * np.random.default_rng(1).standard_normal(1440)).astype(np.float32)
    made = Expansion(noise, RATE_HZ).take(480)
    assert made.std() == pytest.approx(0.1, rel=0.4)
    assert np.array_equal(made, Expansion(noise, RATE_HZ).take(480))


def room(seconds: float, level: float = 0.003) -> NDArray[np.float32]:
    """Dull noise: what lies above 3 kHz is 20 dB softer."""
    noise = np.random.default_rng(2).standard_normal(round(seconds * RATE_HZ))
    dull = np.convolve(noise, np.hanning(16), "same")
    sound: NDArray[np.float32] = (dull * level / dull.std()).astype(np.float32)
    return sound


def test_behind_a_voice_the_room_goes_on_for_a_second() -> None:
    background, noise = Background(RATE_HZ), room(2.0)
    for at in range(0, len(noise), 480):
        background.hear(tone(150, 0.02) if at < 9600 else noise[at : at + 480])
    expansion = Expansion(tone(150), RATE_HZ, background)
    made = np.concatenate([expansion.take(240) for _ in range(220)])
    assert made[:480].std() > 0.1
    assert made[4800 : RATE_HZ // 2].std() == pytest.approx(0.003, rel=0.2)
    assert made[RATE_HZ // 2 : RATE_HZ].std() == pytest.approx(0.003, rel=0.2)
    assert not made[-2400:].any()
    spectrum = np.abs(np.fft.rfft(made[4800:16800])) ** 2
    assert spectrum[: 3000 // 2].mean() > 30 * spectrum[5000 // 2 :].mean()


def test_silence_and_what_never_was_soft_are_no_background() -> None:
    for sound in (np.zeros(48000, np.float32), tone(200, 2.0), room(2.0, 0.1), room(2.0)):
        background = Background(RATE_HZ)
        for at in range(0, len(sound), 480):
            background.hear(sound[at : at + 480])
        assert len(background.noise()) == 0


def test_a_bridge_meets_both_sides() -> None:
    sound = tone(150, 0.3)
    made = bridge(Expansion(sound[:2400], RATE_HZ), sound[3360:], 960, RATE_HZ)
    joined = np.concatenate((sound[:2400], made, sound[3360:]))
    assert len(made) == 960
    assert roughness(joined) < 1.5 * roughness(sound)
    assert made.std() > 0.5 * sound.std()


def test_a_crossfade_shorter_than_asked_uses_what_there_is() -> None:
    old, new = np.ones(3, np.float32), np.zeros(5, np.float32)
    assert crossfade(old, new, 100).tolist() == pytest.approx([0.75, 0.5, 0.25, 0, 0])
    assert crossfade(old[:0], new, 100).tolist() == [0] * 5


def test_whole_periods_are_taken_out_and_put_in() -> None:
    sound = tone(200, 0.2)
    shorter = shorten(sound[2400:3120], 480, RATE_HZ, quiet=False)
    longer = lengthen(sound[:3120], 720, 480, RATE_HZ, quiet=False)
    assert shorter is not None
    assert longer is not None
    for edited in (shorter, longer):
        assert (len(edited) - 720) % 120 in (0, 1, 119)
        assert roughness(np.concatenate((sound[2300:2400], edited))) < 1.2 * roughness(sound)
    assert len(shorter) < 720 < len(longer)


def test_noise_is_left_alone_and_silence_goes_at_any_length() -> None:
    noise = np.random.default_rng(1).standard_normal(2400).astype(np.float32)
    assert shorten(noise[:720], 480, RATE_HZ, quiet=False) is None
    assert lengthen(noise, 720, 480, RATE_HZ, quiet=False) is None
    silence = np.zeros(2400, np.float32)
    cut = shorten(silence[:720], 333, RATE_HZ, quiet=True)
    assert cut is not None
    assert len(cut) == 720 - 333
    assert shorten(silence[:50], 333, RATE_HZ, quiet=True) is None
    assert energy(silence) == energy(silence[:0]) == 0


def test_a_tape_keeps_past_and_ready_apart() -> None:
    tape, sent, heard = Tape(10, 40), np.arange(1000, dtype=np.float32), []
    for at in range(0, 1000, 25):
        tape.append(sent[at : at + 25])
        heard.append(tape.take(20 if at < 500 else 30))
        assert np.array_equal(tape.context, np.concatenate((tape.past, tape.ready)))
    assert np.array_equal(np.concatenate(heard)[:1000], sent)
    assert not np.concatenate(heard)[1000:].any()
    assert tape.past[-1] == heard[-1][-1]
    tape.append(sent[:7])
    tape.replace(sent[:3])
    assert tape.ready.tolist() == [0, 1, 2]
