"""The WebRTC transport for realtime voice models in Python.

Names are loaded on first use: importing the package costs nothing until a transport is made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiortc import RTCIceServer as RTCIceServer

    from rtc_audio import AmbiguousDevice as AmbiguousDevice
    from rtc_audio import AudioError as AudioError
    from rtc_audio import AudioFileError as AudioFileError
    from rtc_audio import AudioSink as AudioSink
    from rtc_audio import AudioSource as AudioSource
    from rtc_audio import CallbackSink as CallbackSink
    from rtc_audio import DeviceBusy as DeviceBusy
    from rtc_audio import DeviceError as DeviceError
    from rtc_audio import DeviceInfo as DeviceInfo
    from rtc_audio import DeviceNotFound as DeviceNotFound
    from rtc_audio import DeviceOpenTimeout as DeviceOpenTimeout
    from rtc_audio import DeviceRefused as DeviceRefused
    from rtc_audio import EchoCanceller as EchoCanceller
    from rtc_audio import EchoUnavailable as EchoUnavailable
    from rtc_audio import FileSink as FileSink
    from rtc_audio import FileSource as FileSource
    from rtc_audio import Microphone as Microphone
    from rtc_audio import NoDevice as NoDevice
    from rtc_audio import NullSink as NullSink
    from rtc_audio import Pcm as Pcm
    from rtc_audio import PortAudioMissing as PortAudioMissing
    from rtc_audio import PushSource as PushSource
    from rtc_audio import SilenceSource as SilenceSource
    from rtc_audio import Speaker as Speaker
    from rtc_audio import StreamSink as StreamSink
    from rtc_audio import ToneSource as ToneSource
    from rtc_audio import list_devices as list_devices
    from rtc_signaling import ClientSecret as ClientSecret
    from rtc_signaling import EphemeralKeyProvider as EphemeralKeyProvider
    from rtc_signaling import SignalingError as SignalingError
    from rtc_signaling import mint_client_secret as mint_client_secret

    from .capture import EchoMode as EchoMode
    from .errors import ConfigError as ConfigError
    from .errors import ConnectError as ConnectError
    from .errors import ConnectTimeout as ConnectTimeout
    from .errors import EventTooLarge as EventTooLarge
    from .errors import HistoryError as HistoryError
    from .errors import NotConnectedError as NotConnectedError
    from .errors import ResponseFailed as ResponseFailed
    from .errors import SendQueueFull as SendQueueFull
    from .errors import TransportError as TransportError
    from .errors import TurnError as TurnError
    from .errors import WaitTimeout as WaitTimeout
    from .layer import ApiKey as ApiKey
    from .layer import RealtimeTransportLayer as RealtimeTransportLayer
    from .layer import ResponseHandle as ResponseHandle
    from .layer import Status as Status
    from .layer import UserInput as UserInput
    from .protocol.history import HistoryLimits as HistoryLimits
    from .server import RealtimeServer as RealtimeServer
    from .session import SessionConfig as SessionConfig
    from .stats import CallStats as CallStats
    from .thread import TransportThread as TransportThread
    from .tracks import OpusSettings as OpusSettings
    from .webrtc import WebRTCTransport as WebRTCTransport

_NAMES = {
    "aiortc": ["RTCIceServer"],
    "rtc_audio": [
        "AmbiguousDevice",
        "AudioError",
        "AudioFileError",
        "AudioSink",
        "AudioSource",
        "CallbackSink",
        "DeviceBusy",
        "DeviceError",
        "DeviceInfo",
        "DeviceNotFound",
        "DeviceOpenTimeout",
        "DeviceRefused",
        "EchoCanceller",
        "EchoUnavailable",
        "FileSink",
        "FileSource",
        "Microphone",
        "NoDevice",
        "NullSink",
        "Pcm",
        "PortAudioMissing",
        "PushSource",
        "SilenceSource",
        "Speaker",
        "StreamSink",
        "ToneSource",
        "list_devices",
    ],
    "rtc_signaling": ["ClientSecret", "EphemeralKeyProvider", "SignalingError", "mint_client_secret"],
    "rtc_transport.capture": ["EchoMode"],
    "rtc_transport.errors": [
        "ConfigError",
        "ConnectError",
        "ConnectTimeout",
        "EventTooLarge",
        "HistoryError",
        "NotConnectedError",
        "ResponseFailed",
        "SendQueueFull",
        "TransportError",
        "TurnError",
        "WaitTimeout",
    ],
    "rtc_transport.layer": ["ApiKey", "RealtimeTransportLayer", "ResponseHandle", "Status", "UserInput"],
    "rtc_transport.protocol.history": ["HistoryLimits"],
    "rtc_transport.server": ["RealtimeServer"],
    "rtc_transport.session": ["SessionConfig"],
    "rtc_transport.stats": ["CallStats"],
    "rtc_transport.thread": ["TransportThread"],
    "rtc_transport.tracks": ["OpusSettings"],
    "rtc_transport.webrtc": ["WebRTCTransport"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
