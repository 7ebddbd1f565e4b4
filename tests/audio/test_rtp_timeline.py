"""RTP numbers that wrap, jump and repeat, on one line."""

from rtc_audio.rtp_timeline import Place, RtpTimeline

FRAME = 960


def feed(timeline: RtpTimeline, *packets: tuple[int, int], start: float = 0.0) -> list[Place | None]:
    """Places packets that arrive 20 ms after each other."""
    return [
        timeline.place(sequence & 0xFFFF, timestamp & 0xFFFFFFFF, FRAME, start + i * 0.02)
        for i, (sequence, timestamp) in enumerate(packets)
    ]


def test_both_numbers_wrap() -> None:
    packets = [(65530 + i, 2**32 - 3 * FRAME + i * FRAME) for i in range(12)]
    assert feed(RtpTimeline(), *packets) == [Place(*packet) for packet in packets]


def test_packets_in_any_order_get_their_place() -> None:
    packets = [(i, i * FRAME) for i in (65533, 65535, 65536, 65534, 65538, 65532, 65537)]
    base = packets[0][1]
    placed = feed(RtpTimeline(), *((i, base + (i - 65533) * FRAME) for i, _ in packets))
    assert [place and place.sequence for place in placed] == [i for i, _ in packets]
    assert [place and place.ticks - base for place in placed] == [(i - 65533) * FRAME for i, _ in packets]


def test_a_far_number_needs_its_successor() -> None:
    timeline = RtpTimeline()
    feed(timeline, *((i, i * FRAME) for i in range(5)))
    assert feed(timeline, (20000, 4711), start=0.1) == [None]
    assert feed(timeline, (5, 5 * FRAME), start=0.1) == [Place(5, 5 * FRAME)]
    assert feed(timeline, (20001, 5000), (20002, 5960), start=0.12) == [None, Place(6, 7 * FRAME)]
    assert feed(timeline, (20003, 6920), start=0.16) == [Place(7, 8 * FRAME)]


def test_a_new_stream_goes_right_behind_the_old_one() -> None:
    timeline = RtpTimeline()
    feed(timeline, *((i, i * FRAME) for i in range(5)))
    timeline.restart()
    assert feed(timeline, (900, 77), (901, 77 + FRAME), start=0.5) == [
        Place(5, 4 * FRAME + round(0.42 * 48000)),
        Place(6, 5 * FRAME + round(0.42 * 48000)),
    ]
    assert timeline.ticks(77) == 4 * FRAME + round(0.42 * 48000)


def test_jitter_between_two_streams_is_no_pause() -> None:
    timeline = RtpTimeline()
    feed(timeline, *((i, i * FRAME) for i in range(5)))
    timeline.restart()
    assert feed(timeline, (900, 77), start=0.08 + 0.035) == [Place(5, 5 * FRAME)]


def test_media_time_that_jumps_back_goes_on() -> None:
    timeline = RtpTimeline()
    feed(timeline, *((i, 10**6 + i * FRAME) for i in range(5)))
    placed = feed(timeline, (5, 0), (6, FRAME), start=0.1)
    assert placed == [Place(5, 10**6 + 5 * FRAME), Place(6, 10**6 + 6 * FRAME)]


def test_a_pause_is_media_time_but_a_jump_is_not() -> None:
    timeline = RtpTimeline()
    feed(timeline, (0, 0))
    assert feed(timeline, (1, 48000 * 5), start=5.0) == [Place(1, 48000 * 5)]
    assert feed(timeline, (2, 48000 * 3600), start=5.02) == [Place(2, 48000 * 5 + FRAME)]


def test_packets_with_one_timestamp_follow_each_other() -> None:
    placed = feed(RtpTimeline(), (0, 0), (1, 0), (2, 0), (3, 3 * FRAME), (4, 3 * FRAME))
    assert [place and place.ticks for place in placed] == [i * FRAME for i in range(5)]
