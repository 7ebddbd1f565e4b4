"""Sound without a network: sources, sinks, devices, echo, resampling, levels, Opus and the playout of a call.

Names are loaded on first use, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .devices import DeviceEvent as DeviceEvent
    from .devices import DeviceInfo as DeviceInfo
    from .devices import Microphone as Microphone
    from .devices import Speaker as Speaker
    from .devices import list_devices as list_devices
    from .echo import EchoCanceller as EchoCanceller
    from .echo import EchoUnavailable as EchoUnavailable
    from .echo import HalfDuplexGate as HalfDuplexGate
    from .echo import NullEchoCanceller as NullEchoCanceller
    from .echo import make_echo_canceller as make_echo_canceller
    from .echo_kalman import KalmanEchoCanceller as KalmanEchoCanceller
    from .echo_reference import FarReference as FarReference
    from .echo_source import EchoSource as EchoSource
    from .errors import AmbiguousDevice as AmbiguousDevice
    from .errors import AudioError as AudioError
    from .errors import AudioFileError as AudioFileError
    from .errors import DeviceBusy as DeviceBusy
    from .errors import DeviceError as DeviceError
    from .errors import DeviceNotFound as DeviceNotFound
    from .errors import DeviceOpenTimeout as DeviceOpenTimeout
    from .errors import DeviceRefused as DeviceRefused
    from .errors import NoDevice as NoDevice
    from .errors import PortAudioMissing as PortAudioMissing
    from .errors import UnsupportedFormat as UnsupportedFormat
    from .files import FileSink as FileSink
    from .files import FileSource as FileSource
    from .immediate import ImmediateDecoder as ImmediateDecoder
    from .levels import LevelMeter as LevelMeter
    from .levels import Ramp as Ramp
    from .opus import OpusDecoder as OpusDecoder
    from .opus import OpusEncoder as OpusEncoder
    from .pacer import Pacer as Pacer
    from .playout import PlayoutBuffer as PlayoutBuffer
    from .ports import AudioSink as AudioSink
    from .ports import AudioSource as AudioSource
    from .ports import ClearableSource as ClearableSource
    from .ports import Pcm as Pcm
    from .ports import UnbufferedSink as UnbufferedSink
    from .preroll import PreRollSource as PreRollSource
    from .recorder import StereoRecorder as StereoRecorder
    from .resampler import PullResampler as PullResampler
    from .resampler import StreamResampler as StreamResampler
    from .sinks import CallbackSink as CallbackSink
    from .sinks import NullSink as NullSink
    from .sinks import StreamSink as StreamSink
    from .sources import PushSource as PushSource
    from .sources import SilenceSource as SilenceSource
    from .sources import ToneSource as ToneSource
    from .uplink import Uplink as Uplink

_MODULES = {
    "devices": ["DeviceEvent", "DeviceInfo", "Microphone", "Speaker", "list_devices"],
    "echo": [
        "EchoCanceller",
        "EchoUnavailable",
        "HalfDuplexGate",
        "NullEchoCanceller",
        "make_echo_canceller",
    ],
    "echo_kalman": ["KalmanEchoCanceller"],
    "echo_reference": ["FarReference"],
    "echo_source": ["EchoSource"],
    "errors": [
        "AmbiguousDevice",
        "AudioError",
        "AudioFileError",
        "DeviceBusy",
        "DeviceError",
        "DeviceNotFound",
        "DeviceOpenTimeout",
        "DeviceRefused",
        "NoDevice",
        "PortAudioMissing",
        "UnsupportedFormat",
    ],
    "files": ["FileSink", "FileSource"],
    "immediate": ["ImmediateDecoder"],
    "levels": ["LevelMeter", "Ramp"],
    "opus": ["OpusDecoder", "OpusEncoder"],
    "pacer": ["Pacer"],
    "playout": ["PlayoutBuffer"],
    "ports": ["AudioSink", "AudioSource", "ClearableSource", "Pcm", "UnbufferedSink"],
    "preroll": ["PreRollSource"],
    "recorder": ["StereoRecorder"],
    "resampler": ["PullResampler", "StreamResampler"],
    "sinks": ["CallbackSink", "NullSink", "StreamSink"],
    "sources": ["PushSource", "SilenceSource", "ToneSource"],
    "uplink": ["Uplink"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
