"""The options of the command line; what they do is imported when a command runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import running
from .running import Failure, WrongUsage

if TYPE_CHECKING:
    from rtc_transport.session import SessionConfig

app = typer.Typer(
    help="WebRTC calls to realtime voice models.",
    rich_markup_mode=None,  # errors stay one plain line
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# typer's releases take it from different places; all of them export this child of it.
_TyperUsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

Loopback = Annotated[
    bool, typer.Option("--loopback", help="Call an embedded server, which parrots you: no key, no network.")
]
Url = Annotated[str | None, typer.Option(help="Post the call to exactly this URL, not to OpenAI.")]
Model = Annotated[
    str | None, typer.Option(help="The model to talk with; gpt-realtime if nothing names another.")
]
Voice = Annotated[str | None, typer.Option(help="The model's voice.")]
Instructions = Annotated[str | None, typer.Option(help="What the model is told to be.")]
SessionFile = Annotated[
    Path | None, typer.Option("--session", metavar="FILE.json", help="The session's fields.")
]
MaxDuration = Annotated[float | None, typer.Option(metavar="S", min=0.0, help="End after S seconds.")]
Timeout = Annotated[float, typer.Option(metavar="S", min=0.1, help="Connect within S seconds.")]
Events = Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Log every event, both ways.")]
Report = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the call.")]
PlainHttp = Annotated[
    bool, typer.Option("--allow-plain-http", help="Let plain http leave this machine, key and all.")
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout; text for people goes to stderr.")
]

OTHER_FORMATS = {".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".webm", ".wma"}
NO_KEY = "no key: set OPENAI_API_KEY, or add --loopback to call an embedded server, which needs none"


def run_app(arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` name and returns the exit code; wrong usage is told like any failure."""
    json_output = "--json" in arguments
    try:
        return int(app(list(arguments), prog_name="rtc-transport", standalone_mode=False) or running.DONE)
    except WrongUsage as error:
        failure = Failure(str(error))
    except _TyperUsageError as error:
        if not arguments:
            error.show()  # the help
            return running.USAGE
        command = error.ctx.command_path if error.ctx is not None else "rtc-transport"
        failure = Failure(f"{error.format_message().rstrip('.')}; see {command} --help")
    return running.fail(failure, json_output=json_output, code=running.USAGE)


def api_key() -> str | None:
    """The key, from the environment only: a command line can be read by everybody on the machine."""
    return os.environ.get("OPENAI_API_KEY") or None


def check_whom(loopback: bool, url: str | None, key: str | None) -> None:
    """That it is clear who is called; raises `WrongUsage`."""
    if loopback and url is not None:
        raise WrongUsage("--loopback and --url exclude each other")
    if not loopback and url is None and key is None:
        raise WrongUsage(NO_KEY)


def check_files(**named: Path | None) -> None:
    """That no two options, named by the keywords, mean one file; raises `WrongUsage`."""
    from .files import same_file

    if clash := same_file({f"--{option}": path for option, path in named.items()}):
        raise WrongUsage(f"{clash} name the same file")


def check_wav(**named: Path | None) -> None:
    """That no file named by a keyword's option promises another format; raises `WrongUsage`."""
    for option, path in named.items():
        if path is not None and path.suffix.lower() in OTHER_FORMATS:
            raise WrongUsage(f"--{option} is written as WAV: name it {path.with_suffix('.wav')}, not {path}")


def session_of(file: Path | None, voice: str | None, instructions: str | None) -> "SessionConfig":
    """The session in the file with the options put over it; raises `WrongUsage`."""
    from .files import read_session

    try:
        return read_session(file, voice=voice, instructions=instructions)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


@app.callback()
def commands() -> None:
    """WebRTC calls to realtime voice models."""


@app.command()
def call(
    input: Annotated[
        Path, typer.Option(metavar="FILE", help="What is spoken into the call: any sound file.")
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The answer, as WAV.")],
    loopback: Loopback = False,
    url: Url = None,
    model: Model = None,
    voice: Voice = None,
    instructions: Instructions = None,
    session: SessionFile = None,
    max_duration: MaxDuration = None,
    linger: Annotated[float, typer.Option(metavar="S", min=0.0, help="Wait S seconds for an answer.")] = 10.0,
    timeout: Timeout = 15.0,
    events: Events = None,
    report: Report = None,
    allow_plain_http: PlainHttp = False,
    json: Json = False,
) -> int:
    """Speak a file into a call and write the answer to a file.

    The call ends when the file has been spoken and the answer has been played. The key comes from OPENAI_API_KEY.
    """
    from .call import CallOptions, run_call

    key = api_key()
    check_whom(loopback, url, key)
    check_wav(output=output)
    check_files(input=input, output=output, events=events, report=report)
    options = CallOptions(
        input=input,
        output=output,
        linger_seconds=linger,
        session=session_of(session, voice, instructions),
        model=model,
        url=url,
        loopback=loopback,
        key=key,
        allow_plain_http=allow_plain_http,
        timeout_seconds=timeout,
        max_seconds=max_duration,
        events=events,
        report=report,
    )
    return running.run(lambda: run_call(options, json_output=json), json_output=json)


@app.command()
def talk(
    loopback: Loopback = False,
    url: Url = None,
    input_device: Annotated[
        str | None, typer.Option(metavar="NAME", help="The microphone: (part of) its name, or its index.")
    ] = None,
    output_device: Annotated[str | None, typer.Option(metavar="NAME", help="The loudspeaker.")] = None,
    push_to_talk: Annotated[
        bool, typer.Option("--push-to-talk", help="Space begins and ends your turn; muted in between.")
    ] = False,
    echo: Annotated[
        str,
        typer.Option(
            metavar="auto|cancel|gate|webrtc|off", help="How the voice is kept out of the microphone."
        ),
    ] = "auto",
    record: Annotated[
        Path | None, typer.Option(metavar="FILE.wav", help="Record both: you left, the model right.")
    ] = None,
    model: Model = None,
    voice: Voice = None,
    instructions: Instructions = None,
    session: SessionFile = None,
    max_duration: MaxDuration = None,
    timeout: Timeout = 15.0,
    events: Events = None,
    report: Report = None,
    allow_plain_http: PlainHttp = False,
    json: Json = False,
) -> int:
    """Talk through the microphone and the loudspeaker.

    Keys: m mute, i interrupt, q quit, space with --push-to-talk. The key comes from OPENAI_API_KEY.
    """
    from .talk import TalkOptions, device_named, echo_named, run_talk

    key = api_key()
    check_whom(loopback, url, key)
    check_wav(record=record)
    check_files(record=record, events=events, report=report)
    options = TalkOptions(
        input_device=device_named("--input-device", input_device),
        output_device=device_named("--output-device", output_device),
        push_to_talk=push_to_talk,
        echo=echo_named(echo),
        record=record,
        session=session_of(session, voice, instructions),
        model=model,
        url=url,
        loopback=loopback,
        key=key,
        allow_plain_http=allow_plain_http,
        timeout_seconds=timeout,
        max_seconds=max_duration,
        events=events,
        report=report,
    )
    return running.run(lambda: run_talk(options, json_output=json), json_output=json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    reply: Annotated[str, typer.Option(metavar="parrot|tone|FILE.json", help="What it answers.")] = "parrot",
    key: Annotated[
        list[str] | None, typer.Option(metavar="K", help="Accept only this key; repeatable.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Every event as a line of JSON on stdout, the URL first.")
    ] = False,
) -> int:
    """Run the embedded realtime server until Ctrl-C.

    It speaks the realtime API over WebRTC: point any agent at the URL it prints. Without --key any key passes.
    """
    from .serve import run_server

    return running.run(
        lambda: run_server(host=host, port=port, reply=reply, keys=key, json_output=json), json_output=json
    )


@app.command()
def devices(json: Json = False) -> int:
    """List the microphones and loudspeakers of this machine."""
    from .devices import show_devices

    return running.run(lambda: show_devices(json_output=json), json_output=json)


@app.command()
def keys(
    model: Model = None,
    voice: Voice = None,
    instructions: Instructions = None,
    session: SessionFile = None,
    expires_after: Annotated[
        int | None,
        typer.Option(metavar="S", min=10, max=7200, help="Valid for S seconds; the service says 600."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="The service, if it is not OpenAI.")] = None,
    allow_plain_http: PlainHttp = False,
    json: Json = False,
) -> int:
    """Mint an ephemeral key from OPENAI_API_KEY.

    The key is the only thing on stdout. Whoever has it can make calls with the session it is bound to, until it
    expires.
    """
    from .keys import DEFAULT_MODEL, mint

    master = api_key()
    if master is None and base_url is None:
        raise WrongUsage("no key: set OPENAI_API_KEY to the key that the ephemeral one is minted from")
    config = session_of(session, voice, instructions)
    fields = {**config.to_update(), "model": model or config.model or DEFAULT_MODEL}
    return running.run(
        lambda: mint(
            master,
            fields,
            expires_after_seconds=expires_after,
            base_url=base_url,
            allow_plain_http=allow_plain_http,
            json_output=json,
        ),
        json_output=json,
    )
