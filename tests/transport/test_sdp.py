"""Reading and rewriting session descriptions."""

import pytest

from rtc_transport.sdp import OpusFormat, describe, opus_payload_types, with_opus_format

SERVICE_ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111 0 8",
        "c=IN IP4 192.0.2.1",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1; stereo=1;maxaveragebitrate=20000",
        "a=maxptime:60",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host",
        "a=candidate:2 1 tcp 1671430143 192.0.2.1 443 typ host tcptype passive",
        "m=application 3478 UDP/DTLS/SCTP webrtc-datachannel",
        "a=sctp-port:5000",
        "",
    ]
)


def test_the_services_answer_is_read() -> None:
    description = describe(SERVICE_ANSWER)
    assert (description.has_audio, description.has_channel) == (True, True)
    assert (description.udp_candidates, description.tcp_candidates) == (1, 1)
    assert description.max_message_size == 65536  # RFC 8841: absent
    assert description.opus == OpusFormat(
        stereo=True, useinbandfec=True, usedtx=False, maxaveragebitrate=20000, minptime=10, maxptime=60
    )


PEERS = {  # the audio section, as different peers write it
    "Chromium": (
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126",
            "a=rtpmap:111 opus/48000/2",
            "a=rtcp-fb:111 transport-cc",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=rtpmap:63 red/48000/2",
            "a=fmtp:63 111/111",
            "a=rtpmap:126 telephone-event/8000",
        ],
        OpusFormat(useinbandfec=True, minptime=10),
    ),
    "Firefox": (
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101",
            "a=rtpmap:109 opus/48000/2",
            "a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1",
            "a=fmtp:101 0-15",
            "a=rtpmap:101 telephone-event/8000",
        ],
        OpusFormat(useinbandfec=True, stereo=True, minptime=None),
    ),
    "the service": (
        [
            "m=audio 3478 UDP/TLS/RTP/SAVPF 111 0 8",
            "a=rtpmap:111 opus/48000/2",
            "a=rtpmap:0 PCMU/8000",
            "a=fmtp:111 minptime=10;useinbandfec=1",
        ],
        OpusFormat(useinbandfec=True, minptime=10),
    ),
    "nothing stated": (
        ["m=audio 9 UDP/TLS/RTP/SAVPF 96", "a=rtpmap:96 OPUS/48000/2"],
        OpusFormat(useinbandfec=False, minptime=None),
    ),
    "thrifty": (
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 96",
            "a=maxptime:40",
            "a=rtpmap:96 opus/48000/2",
            "a=fmtp:96 MaxAverageBitrate=16000; UseDtx=1;cbr=1",
            "a=fmtp:96 useinbandfec=0;stereo=0",
        ],
        OpusFormat(useinbandfec=False, usedtx=True, maxaveragebitrate=16000, maxptime=40, minptime=None),
    ),
    "maxptime among the parameters": (
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 96",
            "a=rtpmap:96 opus/48000/2",
            "a=fmtp:96 maxptime=60;useinbandfec=1",
        ],
        OpusFormat(useinbandfec=True, maxptime=60, minptime=None),
    ),
    "odd values": (
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 96",
            "a=rtpmap:96 opus/48000/2",
            "a=maxptime:²",
            "a=fmtp:96 maxaveragebitrate=" + "9" * 5000 + ";stereo=yes;=;;minptime=-1;useinbandfec=1 ",
        ],
        OpusFormat(useinbandfec=True, minptime=None),
    ),
}


@pytest.mark.parametrize("peer", PEERS)
def test_every_peer_is_understood(peer: str) -> None:
    lines, expected = PEERS[peer]
    assert describe("\r\n".join(["v=0", *lines, ""])).opus == expected


@pytest.mark.parametrize(
    ("value", "limit"),
    [("262144", 262144), ("0", None), ("many", 65536), ("²", 65536), ("9" * 5000, 65536)],
)
def test_the_message_size_limit(value: str, limit: int | None) -> None:
    assert describe(SERVICE_ANSWER + f"a=max-message-size:{value}\r\n").max_message_size == limit


def test_a_rejected_channel_is_none_unless_bundled() -> None:
    rejected = SERVICE_ANSWER.replace("m=application 3478", "m=application 0")
    assert describe(rejected).has_channel is False
    assert describe(rejected + "a=bundle-only\r\n").has_channel is True


@pytest.mark.parametrize(
    "text",
    ["", "v=0\r\n", '{"error": {}}', "m=\r\nm=audio\r\n", "m=audio x y\r\na=fmtp:\r\n", "m=audio ² x\r\n"],
)
def test_odd_texts_are_read_without_an_exception(text: str) -> None:
    description = describe(text)
    assert (description.has_audio, description.has_channel, description.opus) == (False, False, None)


def test_opus_gets_our_parameters_and_other_lines_stay() -> None:
    wanted = OpusFormat(stereo=False, useinbandfec=True, usedtx=True, maxaveragebitrate=24000, maxptime=40)
    rewritten = with_opus_format(SERVICE_ANSWER, wanted)
    assert describe(rewritten).opus == wanted
    assert rewritten.count("a=fmtp:111 ") == 1
    for line in SERVICE_ANSWER.splitlines():
        if not line.startswith(("a=fmtp", "a=maxptime")):
            assert line in rewritten.splitlines()
    assert all(line.endswith("\r\n") for line in rewritten.splitlines(keepends=True))


def test_payload_types_of_opus() -> None:
    assert opus_payload_types(SERVICE_ANSWER) == [111]
    assert opus_payload_types("a=rtpmap:9 G722/8000\na=rtpmap:96 opus/48000/2\na=rtpmap:97 OPUS/48000\n") == [
        96,
        97,
    ]


def test_without_opus_nothing_is_written() -> None:
    sdp = "v=0\r\nm=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    assert with_opus_format(sdp, OpusFormat()) == sdp
