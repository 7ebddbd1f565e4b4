"""A headless Chromium that runs one page of ours and tells a test, step by step, what happens in it."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

SDK = Path(__file__).parent / "js_client"
BUNDLE = SDK / "node_modules/@openai/agents-realtime/dist/bundle/openai-realtime-agents.umd.js"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
HEADLESS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
MEDIA = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
]
PAGE = (
    '<!doctype html><meta charset="utf-8"><script src="/sdk.js"></script><script src="/client.js"></script>'
)


def chromium() -> str:
    """Where Chromium is; skips the test that asks if it, or the official client, is not installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    if not BUNDLE.exists():
        pytest.skip(
            "the official JavaScript client is not here: npm install --prefix tests/support/js_client"
        )
    return path


class Page:
    """What the page reports; between two steps it waits for the test."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._words: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def until(self, step: str, timeout: float = 15) -> dict[str, Any]:
        """The page's report of this step, which must be its next one; it waits there for `go_on`."""
        async with asyncio.timeout(timeout):
            report = await self._reports.get()
        assert report["name"] == step, report
        return report

    def go_on(self, **words: Any) -> None:
        """Lets the page go on with an answer to its last report."""
        self._words.put_nowait(words)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Takes a report, answers with the test's word."""
        self._reports.put_nowait(await request.json())
        return web.json_response(await self._words.get())


@asynccontextmanager
async def open_page(script: Path, arguments: Sequence[str] = ()) -> AsyncIterator[Page]:
    """Runs `script` with the official client in a page; everything is gone at the end of the block."""
    browser, page = chromium(), Page()
    app = web.Application()
    app.router.add_get("/", _text(PAGE))
    app.router.add_get("/sdk.js", _file(BUNDLE))
    app.router.add_get("/client.js", _file(script))
    app.router.add_post("/step", page.serve)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(browser, *HEADLESS, *QUIET, *MEDIA, f"--user-data-dir={profile}", *arguments),
            f"http://127.0.0.1:{runner.addresses[0][1]}/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield page
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            page.go_on()  # a request that is still open ends
            await runner.cleanup()


def _text(page: str) -> Any:
    async def get(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    return get


def _file(path: Path) -> Any:
    async def get(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return get
