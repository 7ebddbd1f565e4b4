"""An HTTP server made of a socket, for answers no HTTP library would send; and what an error shows of itself."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class RawServer:
    """What came in, and where to reach it."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """A whole request has come in."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """A client has closed a connection that was held."""

    @property
    def head(self) -> str:
        """Request line and headers of the last request."""
        return self.requests[-1].partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return self.requests[-1].partition(b"\r\n\r\n")[2]


def http_response(
    status: int = 200, body: bytes | str = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole response that closes the connection."""
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Length": str(len(content)), "Connection": "close", **(headers or {})}
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@asynccontextmanager
async def raw_server(*answers: bytes, hold: bool = False) -> AsyncIterator[RawServer]:
    """Answer the n-th request with the n-th of `answers` (the last again and again), then close.

    With `hold` the connection stays open until the client leaves.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        for line in request.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                request += await reader.readexactly(int(line.partition(b":")[2]))
        server.requests.append(request)
        server.arrived.set()
        writer.write(answers[min(len(server.requests), len(answers)) - 1])
        await writer.drain()
        if hold:
            await reader.read()
            server.gone.set()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def guarded() -> None:
            try:
                await serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                server.gone.set()
            finally:
                writer.close()

        task = asyncio.create_task(guarded())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 22)
    server = RawServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    try:
        yield server
    finally:
        listener.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def shown_by(error: BaseException) -> str:
    """Everything a log, a traceback or a debugger's repr would show of an error and its whole chain."""
    seen: list[str] = ["".join(traceback.format_exception(error))]
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None:
            seen += [str(link), repr(link), repr(link.args), repr(vars(link))]
            pending += [link.__cause__, link.__context__]
    return "\n".join(seen)
