"""Reception statistics against hand-made streams (RFC 3550 A.3, A.8)."""

from rtc_transport.reception import Reception


def feed(reception: Reception, numbers: list[int], *, at: float = 0.0, spacing: float = 0.02) -> float:
    for index, number in enumerate(numbers):
        now = at + index * spacing
        reception.packet(number & 0xFFFF, round(now * 48000) & 0xFFFFFFFF, now)
    return at + len(numbers) * spacing


def test_nothing_is_reported_before_the_first_packet() -> None:
    assert Reception().report(1.0) is None


def test_losses_are_counted_over_the_wrap_and_by_interval() -> None:
    reception = Reception()
    numbers = [n for n in range(65530, 65530 + 20) if n not in (65533, 65540)]
    feed(reception, numbers)
    first = reception.report(1.0)
    assert first is not None
    assert (first.packets_lost, first.fraction_lost) == (2, (2 << 8) // 20)
    assert first.highest_sequence == 65549  # one cycle
    feed(reception, list(range(65550, 65560)), at=1.0)
    second = reception.report(2.0)
    assert second is not None
    assert (second.packets_lost, second.fraction_lost) == (2, 0)


def test_reordering_and_duplicates() -> None:
    reception = Reception()
    feed(reception, [10, 12, 11, 11, 13])
    report = reception.report(1.0)
    assert report is not None
    assert report.packets_lost == -1  # a duplicate counts as received
    assert report.highest_sequence == 13


def test_a_large_jump_is_a_new_stream() -> None:
    reception = Reception()
    feed(reception, [1, 2, 3, 30000, 30001])
    report = reception.report(1.0)
    assert report is not None
    assert (report.packets_lost, report.highest_sequence) == (0, 30001)


def test_totals_go_on_over_another_source() -> None:
    reception = Reception()
    for sequence in (1, 2, 4, 5):
        reception.packet(sequence, sequence * 960, sequence * 0.02)
    reception.sender_report(1 << 32, 0.1)
    reception.restart()
    assert reception.report(0.2) is None
    for sequence in (9000, 9001, 9001):
        reception.packet(sequence, 7, 0.3)
    assert (reception.total_received, reception.total_lost) == (7, 1)
    block = reception.report(0.4)
    assert block is not None
    assert (block.packets_lost, block.highest_sequence, block.lsr) == (-1, 9001, 0)


def test_figures_of_somebody_else_are_taken() -> None:
    reception = Reception()
    reception.copy(received=90, lost=10, jitter=48)
    assert (reception.total_received, reception.total_lost, reception.jitter_seconds) == (90, 10, 0.001)


def test_jitter_is_zero_on_the_beat_and_grows_off_it() -> None:
    steady, shaky = Reception(), Reception()
    for index in range(200):
        timestamp = (2**32 - 9600 + index * 960) & 0xFFFFFFFF  # wraps on the way
        steady.packet(index, timestamp, index * 0.02)
        shaky.packet(index, timestamp, index * 0.02 + (0.010 if index % 2 else 0.0))
    assert steady.jitter_seconds < 0.0001
    assert 0.009 < shaky.jitter_seconds < 0.011  # the difference between two neighbours is 10 ms


def test_the_delay_since_the_last_sender_report() -> None:
    reception = Reception()
    feed(reception, [1])
    reception.sender_report(0x1234_5678_9ABC_DEF0, now=10.0)
    report = reception.report(10.5)
    assert report is not None
    assert (report.lsr, report.dlsr) == (0x5678_9ABC, 32768)
