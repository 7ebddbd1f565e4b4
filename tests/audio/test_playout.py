"""The playout buffer on seeded networks, in virtual time."""

import numpy as np
import pytest

from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer
from support.voice_link import packets, play, roughness

RATE_HZ = 24000


def buffer(**options: object) -> PlayoutBuffer:
    return PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ, **options)  # type: ignore[arg-type]  # any option


def test_a_clean_link_is_played_as_it_was_sent() -> None:
    payloads = packets(10)
    heard = play(playout := buffer(), RATE_HZ, payloads, [0.0] * len(payloads))
    decoder = OpusDecoder(RATE_HZ)
    sent = np.concatenate([decoder.decode(payload) for payload in payloads])
    late = int(np.argmax(np.correlate(heard.pcm, sent[RATE_HZ : 2 * RATE_HZ], "valid"))) - RATE_HZ
    assert np.abs(heard.pcm[RATE_HZ + late : 4 * RATE_HZ] - sent[RATE_HZ : 4 * RATE_HZ - late]).max() < 1e-6
    assert np.median(heard.delay_seconds) < 0.050
    assert playout.stats.lost == playout.stats.discarded == 0
    assert roughness(heard.pcm) <= 1.1 * roughness(sent)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_losses_are_filled(share: float) -> None:
    payloads = packets(10)
    lost = np.random.default_rng(5).random(len(payloads)) < share
    heard = play(playout := buffer(), RATE_HZ, payloads, [None if gone else 0.0 for gone in lost])
    stats = playout.stats
    assert stats.lost == lost.sum()
    assert stats.fec_ms + stats.concealed_ms + stats.expanded_ms >= 0.8 * lost.sum() * 20
    assert np.median(heard.delay_seconds) < 0.065
