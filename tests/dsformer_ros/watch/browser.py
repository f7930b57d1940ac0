"""A real browser without a window, spoken to over its own protocol (Chrome DevTools)."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The program, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []

    async def say(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Asks the browser for something, and keeps what the page complains about meanwhile."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = json.loads((await self._socket.receive(timeout=30)).data)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(answer["params"]["exceptionDetails"]))
            elif answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.complaints.append(json.dumps(answer["params"]["entry"]))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        found = await self.say("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 20.0) -> Any:
        """What an expression is as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := await self.value(expression)):
            text = await self.value("document.body.innerText")
            assert time.monotonic() < deadline, f"{expression} never came true:\n{text}\n{self.complaints}"
            await asyncio.sleep(0.1)
        return value


@asynccontextmanager
async def browser(program: str, profile: Path, address: str) -> AsyncIterator[Page]:
    """A page at an address; the browser is gone when the block ends."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    process = subprocess.Popen(
        [program, *options, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port_file.is_file() and port_file.read_text().strip()):
            assert process.poll() is None and time.monotonic() < deadline, "the browser did not come up"
            await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                for domain in ("Runtime", "Log", "Page"):
                    await page.say(f"{domain}.enable")
                await page.say("Page.navigate", url=address)
                yield page
    finally:
        process.terminate()
        process.wait(20)
