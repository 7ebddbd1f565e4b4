import subprocess
import sys

import pytest

import rtc_signaling


def test_importing_the_package_is_light() -> None:
    script = (
        "import sys, rtc_signaling as room\n"
        "room.KeySource, room.resolve_key, room.SignalingError, room.SdpAnswer, room.DEFAULT_BASE_URL\n"
        "assert not {'aiohttp', 'yarl', 'asyncio', 'ssl'} & set(sys.modules), set(sys.modules)\n"
        "room.SdpClient\n"
        "assert 'aiohttp' in sys.modules\n"
        "assert not {'aiortc', 'av', 'numpy', 'rtc_transport', 'rtc_audio'} & set(sys.modules)\n"
    )
    paths = [path for path in sys.path if path]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    for name in rtc_signaling.__all__:
        assert getattr(rtc_signaling, name) is getattr(rtc_signaling, name)
        assert name in dir(rtc_signaling)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rtc_signaling' has no attribute 'SdpCleint'"):
        rtc_signaling.SdpCleint  # type: ignore[attr-defined]  # noqa: B018  the fault under test
