"""What an Opus packet (RFC 6716) tells about itself without being decoded."""

from .libopus import MAX_PACKET_MS, OpusError

CELT_SILENCE_BYTES = 8  # libopus takes 3 for zeros, more than 90 for noise that can hardly be heard


def _frame_ms(config: int) -> float:
    """RFC 6716 §3.1."""
    if config < 12:  # SILK
        return (10.0, 20.0, 40.0, 60.0)[config & 3]
    if config < 16:  # hybrid
        return (10.0, 20.0)[config & 1]
    return (2.5, 5.0, 10.0, 20.0)[config & 3]  # CELT


_SECONDS = tuple(_frame_ms(toc >> 3) * (1, 2, 2, 0)[toc & 3] / 1000 for toc in range(256))


def packet_seconds(payload: bytes) -> float:
    """Duration of a packet, from its first two bytes (RFC 6716 §3.1, §3.2).

    Raises OpusError for bytes that no Opus packet begins with.
    """
    if not payload:
        raise OpusError("an empty payload is no Opus packet")
    seconds = _SECONDS[payload[0]]
    if seconds:
        return seconds
    if len(payload) < 2:
        raise OpusError("the Opus packet ends before its frame count")
    frames, frame_ms = payload[1] & 0x3F, _frame_ms(payload[0] >> 3)
    if not 0 < frames * frame_ms <= MAX_PACKET_MS:
        raise OpusError(f"an Opus packet cannot hold {frames} frames of {frame_ms:g} ms")
    return frames * frame_ms / 1000


def _first_frame(payload: bytes) -> int:
    """Where the first frame of a packet begins (RFC 6716 §3.2); may lie behind its end."""
    code, at = payload[0] & 3, 1
    if code < 2:
        return at
    count = payload[1] if code == 3 and len(payload) > 1 else 0
    if code == 3:
        at = 2
        while count & 0x40:  # padding: one byte, and one more for every 255
            if at >= len(payload):
                return at
            at += 1
            if payload[at - 1] < 255:
                break
    lengths = 1 if code == 2 else (max(count & 0x3F, 1) - 1) * (count >> 7)
    for _ in range(lengths):
        at += 1 if at < len(payload) and payload[at] < 252 else 2
    return at


def has_inband_fec(payload: bytes) -> bool:
    """Whether the packet repeats the frame in front of it: the LBRR flags of RFC 6716 §4.2.3. Never raises."""
    flags = _silk_flags(payload)  # CELT alone never has it
    return flags is not None and any(channel & 1 for channel in flags)


def has_voice(payload: bytes) -> bool:
    """Whether its encoder heard something: the VAD flags of RFC 6716 §4.2.3. Never raises.

    CELT has no such flags: there only digital silence is known, by its few bytes.
    """
    flags = _silk_flags(payload)
    return len(payload) > CELT_SILENCE_BYTES if flags is None else any(channel >> 1 for channel in flags)


def _silk_flags(payload: bytes) -> tuple[int, ...] | None:
    """For each channel of the first frame its VAD flags and, in the last bit, its LBRR flag; None: there are none.

    They are the first symbols of a SILK frame, each of probability 1/2, so they stand as bits in its first byte.
    """
    if len(payload) < 2 or payload[0] >= 0x80:
        return None
    at = _first_frame(payload)
    if at >= len(payload):
        return None
    config, stereo = payload[0] >> 3, payload[0] & 4
    bits = 1 + ((1, 1, 2, 3)[config & 3] if config < 12 else 1)
    mid, side = payload[at] >> (8 - bits), payload[at] >> (8 - 2 * bits) & ((1 << bits) - 1)
    return (mid, side) if stereo else (mid,)
