"""Laws of the rooms that import contracts cannot say: who may use which foreign library."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT / "rtc_transport", ROOT / "audio" / "rtc_audio", ROOT / "signaling" / "rtc_signaling")

ALLOWED = {
    "aiortc": [
        "rtc_transport",  # RTCIceServer, for type checkers
        "rtc_transport.internals*",
        "rtc_transport.peer",
        "rtc_transport.channel",
        "rtc_transport.tracks",
        "rtc_transport.receiver",
        "rtc_transport.call",
        "rtc_transport.webrtc",
        "rtc_transport.server.call",
    ],
    "aioice": ["rtc_transport.internals*"],
    "av": [
        "rtc_audio.decoding",
        "rtc_audio.opus_av",
        "rtc_audio.libopus",
        "rtc_transport.tracks",
        "rtc_transport.receiver",
    ],
    "aiohttp": ["rtc_signaling.*", "rtc_transport.server.server"],  # the latter for type checkers
    "sounddevice": ["rtc_audio.devices*"],
    "typer": ["rtc_transport.cli.*"],
    "rich": ["rtc_transport.cli.*"],
    "matplotlib": ["rtc_transport.report"],
    "livekit": ["rtc_audio.echo*"],
    "pytest": ["rtc_transport.pytest_plugin"],
    "openai": [],
    "scipy": [],
    "soxr": [],
}


def modules() -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that are imported anywhere in the module, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_foreign_libraries_stay_in_their_rooms() -> None:
    strays = [
        f"{name} imports {package}"
        for name, path in modules()
        for package in imported(ast.parse(path.read_text(encoding="utf-8"))) & ALLOWED.keys()
        if not any(fnmatch(name, pattern) for pattern in ALLOWED[package])
    ]
    assert not strays


def test_private_names_of_aiortc_are_touched_in_one_room_only() -> None:
    own = {"self", "cls"}
    touched = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, path in modules()
        if not name.startswith("rtc_transport.internals")
        and "aiortc" in imported(tree := ast.parse(path.read_text("utf-8")))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in own)
        if not ast.unparse(node).startswith("self._emitter._")
    ]
    assert not touched


def test_modules_stay_readable() -> None:
    long = {
        name: lines for name, path in modules() if (lines := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long, "split them: about 300 lines, and 400 at most"
