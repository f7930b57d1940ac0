"""Serves the page, and tells it what changes: HTTP and server-sent events, nothing that changes the robot."""

import asyncio
import errno
import ipaddress
import json
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dsformer_core.cli import console
from dsformer_core.errors import DsformerError
from dsformer_ros.watch.listener import Listener

_PAGE = Path(__file__).with_name("page.html")
# Seconds between events at most so often, and of silence after which one says that the connection lives.
_SHORTEST, _LONGEST = 0.1, 10.0


def serve(listener: Listener, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        listener: not yet started.
        host: address to listen on.
        port: 0 for any free one.

    Raises:
        DsformerError: the address cannot be had.
    """
    asyncio.run(_serve(listener, host, port))


async def _serve(listener: Listener, host: str, port: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    changes = Changes()
    runner = web.AppRunner(_application(listener, changes, host), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, shutdown_timeout=1.0).start()

        def tell(part: str) -> None:
            # Something may still be heard when nobody looks any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(changes.note, part)

        listener.start(tell)
        address = runner.addresses[0]
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        console.answers.print(f"Watching {listener.state['node']} on http://{name}:{address[1]}/", highlight=False)
        await ended.wait()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is taken: choose another with --port"
        else:
            reason = f"{error.strerror or error}: --host takes an address of this machine"
        raise DsformerError(f"cannot serve on {host}: {reason}") from error
    finally:
        changes.end()
        await runner.cleanup()


class Changes:
    """Wakes every open page when something has changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        self._counts: dict[str, int] = {}
        self.ended = False

    def note(self, part: str) -> None:
        """A part of the state has changed."""
        self._counts[part] = self._counts.get(part, 0) + 1
        for event in self._waiting:
            event.set()

    def so_far(self) -> dict[str, int]:
        """How often each part has changed."""
        return dict(self._counts)

    def end(self) -> None:
        """No more will come."""
        self.ended = True
        for event in self._waiting:
            event.set()

    async def after(self, seen: dict[str, int]) -> set[str]:
        """Parts that changed since `seen`, which is brought up to date; none after a while without any."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            if self._counts == seen and not self.ended:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(event.wait(), _LONGEST)
        finally:
            self._waiting.discard(event)
        changed = {part for part, count in self._counts.items() if seen.get(part) != count}
        seen.update(self._counts)
        return changed


def _application(listener: Listener, changes: Changes, host: str) -> web.Application:
    async def page(_: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; "
        policy += "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        text = _PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def icon(_: web.Request) -> web.Response:
        return web.Response(status=204)

    async def references(_: web.Request) -> web.Response:
        return web.json_response(listener.references)

    async def picture(_: web.Request) -> web.Response:
        if not listener.picture:
            raise web.HTTPNotFound(text="no match image has come yet\n")
        return web.Response(body=listener.picture, content_type="image/jpeg")

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        seen = changes.so_far()
        changed = set(listener.state)
        with suppress(ConnectionError):
            while not changes.ended:
                text = json.dumps({part: listener.state[part] for part in changed})
                await response.write(f"data: {text}\n\n".encode())
                await asyncio.sleep(_SHORTEST)
                changed = await changes.after(seen)
        return response

    application = web.Application(middlewares=[_only_for(_names_of_this_machine(host))])
    application.add_routes(
        [
            web.get("/", page),
            web.get("/favicon.ico", icon),
            web.get("/events", events),
            web.get("/references", references),
            web.get("/match.jpg", picture),
        ]
    )
    application.on_response_prepare.append(_harden)
    return application


async def _harden(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"


def _names_of_this_machine(host: str) -> set[str]:
    name = socket.gethostname().lower()
    return {host.lower(), "localhost", name, f"{name}.local"}


def _only_for(names: set[str]) -> Middleware:
    """Refuses requests that some other name led here: a page elsewhere could have its name point at this machine.

    An address cannot be pointed elsewhere, so every address is taken.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            name = (urlsplit(f"//{request.headers.get('Host', '')}").hostname or "").lower()
        except ValueError:
            name = ""
        if name not in names and not _is_address(name):
            raise web.HTTPMisdirectedRequest(text=f"'{name}' is not a name of this machine\n")
        return await handler(request)

    return check


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
