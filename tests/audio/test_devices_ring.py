"""The ring between a driver's thread and the event loop: frames and their bytes are the same sound."""

import numpy as np
import pytest

from rtc_audio.devices.ring import SampleRing
from rtc_audio.ports import Pcm


def memory(pcm: Pcm) -> memoryview:
    return pcm.data.cast("B")


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("as_bytes", [(False, False), (False, True), (True, False), (True, True)])
def test_what_is_written_is_read_wherever_the_ring_ends(channels: int, as_bytes: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(channels)
    ring, written, read = SampleRing(700, channels), [], []
    for _ in range(400):
        pcm = rng.standard_normal((rng.integers(1, 481), channels)).astype(np.float32)
        if len(pcm) <= ring.free:
            written.append(pcm)
            ring.write_bytes(memory(pcm)) if as_bytes[0] else ring.write(pcm)
        out = np.full((rng.integers(1, 481), channels), np.nan, np.float32)
        if len(out) <= ring.available:
            read.append(out)
            if as_bytes[1]:
                copy = np.empty_like(out)
                ring.read_bytes(memory(out), memory(copy))
                np.testing.assert_array_equal(copy, out)
            else:
                ring.read(out)
    heard = np.concatenate(read)
    assert len(heard) == ring.taken > 20 * 700
    np.testing.assert_array_equal(heard, np.concatenate(written)[: len(heard)])


def test_what_is_skipped_is_not_read() -> None:
    ring = SampleRing(10, 1)
    ring.write(np.arange(8, dtype=np.float32)[:, None])
    assert (ring.skip_to(5), ring.skip_to(3), ring.skip_to(99)) == (5, 0, 3)
    assert (ring.available, ring.free) == (0, 10)
