"""Wrong usage: exit code 2 and one line that says what to do; help that fits 80 columns."""

import json
from pathlib import Path

import pytest

from rtc_transport.report import ReportError
from support.command_line import Ended, run_command, short_speech, start_command


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def call(capsys: pytest.CaptureFixture[str], folder: Path, *options: object) -> Ended:
    files = ("--input", folder / "in.wav", "--output", folder / "out.wav")
    return run_command(capsys, "call", *files, *options)


def test_without_a_key_both_ways_out_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = call(capsys, tmp_path)
    assert ended.code == 2
    assert (
        ended.error
        == "no key: set OPENAI_API_KEY, or add --loopback to call an embedded server, which needs none"
    )


def test_loopback_and_url_exclude_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = call(capsys, tmp_path, "--loopback", "--url", "http://127.0.0.1:8000/v1/realtime/calls")
    assert (ended.code, ended.error) == (2, "--loopback and --url exclude each other")


def test_two_options_that_name_one_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    same = tmp_path / "folder" / ".." / "in.wav"
    ended = call(capsys, tmp_path, "--loopback", "--report", same)
    assert (ended.code, ended.error) == (2, "--input and --report name the same file")


@pytest.mark.parametrize("command", ["call", "talk"])
def test_a_recording_that_its_name_says_is_no_wav_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    option = "--output" if command == "call" else "--record"
    path = tmp_path / "answer.MP3"
    wanted = ("--input", tmp_path / "in.wav") if command == "call" else ()
    ended = run_command(capsys, command, "--loopback", *wanted, option, path)
    assert ended.code == 2
    assert ended.error == f"{option} is written as WAV: name it {tmp_path / 'answer.wav'}, not {path}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON: "),
        ("[]", "a session is a JSON object"),
        ('{"output_modalities": "loud"}', "output_modalities"),
        (
            '{"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": "high"}}}}',
            "threshold",
        ),
        ('{"audio": {"output": {"speed": NaN}}}', "not JSON: NaN is no number"),
        ("[" * 100_000, "not JSON: "),
        (b"\xff\xfe", "not UTF-8 text"),
        (None, "no such file or directory"),
    ],
)
def test_a_bad_session_file_is_named_with_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes | None, reason: str
) -> None:
    path = tmp_path / "session.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ended = call(capsys, tmp_path, "--loopback", "--session", path)
    assert ended.code == 2
    assert ended.error.startswith(f"{path}: ")
    assert reason in ended.error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["call"], "Missing option '--input'"),
        (["call", "--input", "a", "--output", "b", "--linger", "soon"], "Invalid value for '--linger'"),
        (["call", "--input", "a", "--output", "b", "--linger", "-1"], "Invalid value for '--linger'"),
        (["call", "--api-key", "sk-on-the-command-line"], "No such option"),
        (["serve", "--port", "70000"], "Invalid value for '--port'"),
        (["keys", "--expires-after", "5"], "Invalid value for '--expires-after'"),
        (["dial"], "No such command 'dial'"),
    ],
)
def test_options_that_do_not_exist_or_fit(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    ended = run_command(capsys, *arguments)
    assert ended.code == 2
    assert ended.error.startswith(reason)
    assert ended.error.endswith(
        "; see rtc-transport --help" if arguments[0] == "dial" else f"{arguments[0]} --help"
    )


def test_json_tells_of_wrong_usage_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for options in ([], ["--loopback", "--linger", "soon"]):  # found by us, found by the parser
        ended = call(capsys, tmp_path, *options, "--json")
        assert ended.code == 2
        told = {"message": ended.error, "stage": None, "status": None, "code": None}
        assert json.loads(ended.stdout) == {"outcome": "failed", "error": told}


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_command(capsys)
    assert ended.code == 2
    assert ended.stderr.startswith("Usage: rtc-transport ")


def test_an_empty_key_lets_nobody_in(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_command(capsys, "serve", "--port", 0, "--key", "")
    assert (ended.code, ended.error) == (2, "--key is empty")


def test_a_misspelt_reply_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_command(capsys, "serve", "--port", 0, "--reply", "parot")
    assert ended.code == 2
    assert ended.error == (
        "--reply parot: cannot be read: no such file or directory; it is parrot, tone or a script"
    )


def test_an_unknown_reply(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = run_command(capsys, "serve", "--port", 0, "--reply", tmp_path / "nothing.json")
    assert ended.code == 2
    assert ended.error.startswith(f"--reply {tmp_path / 'nothing.json'}: ")


def test_keys_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_command(capsys, "keys")
    assert ended.code == 2
    assert ended.error == "no key: set OPENAI_API_KEY to the key that the ephemeral one is minted from"


def test_a_picture_without_matplotlib_is_refused_before_the_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ReportError('the picture needs matplotlib: pip install "rtc-transport[plots]"')

    monkeypatch.setattr("rtc_transport.cli.files.require_matplotlib", missing)
    short_speech(tmp_path / "in.wav")
    ended = call(capsys, tmp_path, "--loopback", "--report", tmp_path / "call.png")
    assert ended.code == 1
    assert ended.error == 'the picture needs matplotlib: pip install "rtc-transport[plots]"'
    assert not (tmp_path / "out.wav").exists()


async def test_the_help_fits_80_columns_and_shows_every_command(tmp_path: Path) -> None:
    for arguments in (["--help"], ["call", "--help"], ["serve", "--help"], ["keys", "--help"]):
        process = await start_command(tmp_path, arguments, COLUMNS="80")
        stdout, _ = await process.communicate()
        assert process.returncode == 0
        text = stdout.decode()
        assert max(map(len, text.splitlines())) <= 80
        assert "rtc-transport" in text
    assert "--api-key" not in text
