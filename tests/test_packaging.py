"""What is shipped, and that it works beside an application that has modules called audio and signaling."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"rtc_transport": ROOT, "rtc_audio": ROOT / "audio", "rtc_signaling": ROOT / "signaling"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built as an installer does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def shipped_files(package: str, folder: Path) -> set[str]:
    files = {path.relative_to(folder) for path in (folder / package).rglob("*") if path.is_file()}
    made_by_tools = {
        path for path in files if any(part[0] == "." or part == "__pycache__" for part in path.parts)
    }
    return {path.as_posix() for path in files - made_by_tools}


def test_the_wheel_holds_exactly_the_three_packages(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if not name.endswith("/")}
    expected = set().union(*(shipped_files(package, folder) for package, folder in PACKAGES.items()))
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "rtc_transport/data/speech.wav" in names
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_wheel_names_the_command_and_the_pytest_plugin(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    assert "rtc-transport = rtc_transport.cli:main" in text
    assert "rtc_transport = rtc_transport.pytest_plugin" in text


def test_the_source_distribution_can_build_and_test_itself(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "scripts/test", "tests/test_packaging.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "dist/")) or "__pycache__" in name]


def test_speech_is_the_only_audio_file_in_the_source_distribution(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        sounds = [
            name
            for name in archive.getnames()
            if Path(name).suffix in {".wav", ".ogg", ".opus", ".mp3", ".flac"}
        ]
    assert [Path(name).name for name in sounds] == ["speech.wav"]


def test_an_application_with_its_own_audio_and_signaling_modules_can_import_the_wheel(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "site")
    application = tmp_path / "application"
    application.mkdir()
    (application / "audio.py").write_text("NAME = 'the application'\n")
    (application / "signaling.py").write_text("NAME = 'the application'\n")
    (application / "main.py").write_text(
        "import audio, signaling, rtc_transport, rtc_audio, rtc_signaling\n"
        "assert audio.NAME == signaling.NAME == 'the application'\n"
        "print(*(module.__file__ for module in (rtc_transport, rtc_audio, rtc_signaling)), sep='\\n')\n"
        "from pathlib import Path\n"
        "from rtc_transport import FileSource, WebRTCTransport\n"
        "from rtc_signaling import SdpClient\n"
        "FileSource(Path(rtc_transport.__file__).parent / 'data' / 'speech.wav')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "main.py"]
    result = subprocess.run(
        command, cwd=application, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert all(file.startswith(str(tmp_path / "site")) for file in result.stdout.splitlines())
