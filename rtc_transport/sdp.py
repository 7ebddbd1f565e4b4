"""What the transport reads from session descriptions and writes into them. Pure text work; SDP is RFC 8866.

aiortc offers Opus without format parameters, so a peer would send neither in-band FEC nor DTX, and it hides the
parameters of the peer. The offer or answer that is *sent* is rewritten here; the local description stays as it was.
"""

import re
from dataclasses import dataclass

DEFAULT_MAX_MESSAGE_SIZE = 65536  # RFC 8841 §6.1, where the attribute is absent


@dataclass(frozen=True)
class OpusFormat:
    """Format parameters of Opus (RFC 7587 §6.1): what the side that states them wants to *receive*."""

    stereo: bool = False
    useinbandfec: bool = True
    usedtx: bool = False
    maxaveragebitrate: int | None = None
    """Bits per second."""
    minptime: int | None = 10
    """Milliseconds."""
    maxptime: int | None = None
    """Milliseconds; an attribute of the media section, not of the format (RFC 8866 §6.4)."""

    def fmtp(self) -> str:
        """The parameters as they stand behind ``a=fmtp:<payload type>``."""
        parameters: dict[str, int | None] = {
            "minptime": self.minptime,
            "useinbandfec": int(self.useinbandfec),
            "stereo": int(self.stereo),
            "usedtx": int(self.usedtx),
            "maxaveragebitrate": self.maxaveragebitrate,
        }
        return ";".join(f"{name}={value}" for name, value in parameters.items() if value is not None)


@dataclass(frozen=True)
class Description:
    """What matters of a peer's description before it is applied."""

    has_audio: bool
    has_channel: bool
    has_credentials: bool
    """ICE user fragment and password, and a DTLS fingerprint: without them aiortc waits for ever."""
    udp_candidates: int
    tcp_candidates: int
    max_message_size: int | None
    """Bytes; None: no limit."""
    opus: OpusFormat | None
    """None: no Opus among the codecs."""


def describe(sdp: str) -> Description:
    """Reads a description; unknown lines and odd values are passed over, as RFC 8866 §5 asks."""
    sections = _sections(sdp)
    audio = next((s for s in sections if s.kind == "audio" and s.port_or_bundled), None)
    channel = next((s for s in sections if s.kind == "application" and s.port_or_bundled), None)
    transports = re.findall(r"^a=candidate:\S+ \d+ (\w+) ", sdp, re.MULTILINE)
    return Description(
        has_audio=audio is not None,
        has_channel=channel is not None,
        has_credentials=all(f"a={name}:" in sdp for name in ("ice-ufrag", "ice-pwd", "fingerprint")),
        udp_candidates=sum(t.lower() == "udp" for t in transports),
        tcp_candidates=sum(t.lower() == "tcp" for t in transports),
        max_message_size=_max_message_size(channel),
        opus=_opus(audio) if audio is not None else None,
    )


def opus_payload_types(sdp: str) -> list[int]:
    """The payload types that the description gives to Opus, in its order."""
    found = re.findall(r"^a=rtpmap:([0-9]{1,3}) opus/48000", sdp, re.MULTILINE | re.IGNORECASE)
    return [int(number) for number in found]


def with_opus_format(sdp: str, wanted: OpusFormat) -> str:
    """The description with `wanted` as the parameters of every Opus payload type; line ends stay as they are."""
    lines = []
    opus = {str(number) for number in opus_payload_types(sdp)}
    for line in sdp.splitlines(keepends=True):
        fmtp = re.match(r"a=fmtp:(\d+) ", line)
        if fmtp and fmtp[1] in opus:
            continue
        lines.append(line)
        rtpmap = re.match(r"a=rtpmap:(\d+) ", line)
        if rtpmap and rtpmap[1] in opus:
            end = line[len(line.rstrip("\r\n")) :]
            lines.append(f"a=fmtp:{rtpmap[1]} {wanted.fmtp()}{end}")
            if wanted.maxptime is not None:
                lines.append(f"a=maxptime:{wanted.maxptime}{end}")
    return "".join(lines)


@dataclass(frozen=True)
class _Section:
    kind: str
    port: int
    lines: tuple[str, ...]

    @property
    def port_or_bundled(self) -> bool:
        # Port 0 rejects the section, unless it is bundle-only (RFC 9143 §6).
        return self.port != 0 or "a=bundle-only" in self.lines

    def attribute(self, name: str) -> str | None:
        prefix = f"a={name}:"
        return next((line[len(prefix) :].strip() for line in self.lines if line.startswith(prefix)), None)


def _sections(sdp: str) -> list[_Section]:
    sections = []
    for block in re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]:
        head, *lines = block.splitlines()
        fields = head.split()
        port = _number(fields[1].partition("/")[0]) if len(fields) > 1 else None
        sections.append(_Section(fields[0] if fields else "", port or 0, tuple(lines)))
    return sections


def _max_message_size(channel: _Section | None) -> int | None:
    size = _number(channel.attribute("max-message-size")) if channel else None
    return DEFAULT_MAX_MESSAGE_SIZE if size is None else size or None


def _number(text: str | None) -> int | None:
    """The decimal number that `text` is; None for anything else."""
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


def _opus(audio: _Section) -> OpusFormat | None:
    payload_type = next(
        (m[1] for line in audio.lines if (m := re.match(r"a=rtpmap:(\d+) opus/48000", line, re.IGNORECASE))),
        None,
    )
    if payload_type is None:
        return None
    prefix = f"a=fmtp:{payload_type} "
    fmtp = ";".join(line.removeprefix(prefix) for line in audio.lines if line.startswith(prefix))
    pairs = (part.partition("=") for part in fmtp.split(";"))
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return OpusFormat(
        stereo=values.get("stereo") == "1",
        useinbandfec=values.get("useinbandfec") == "1",
        usedtx=values.get("usedtx") == "1",
        maxaveragebitrate=_number(values.get("maxaveragebitrate")),
        minptime=_number(values.get("minptime")),
        maxptime=_number(audio.attribute("maxptime")) or _number(values.get("maxptime")),
    )
