"""A headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--no-first-run", "--remote-debugging-port=0"),
)
_KEY_CODES = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "Enter": 13,
    "Escape": 27,
    "Delete": 46,
    "Tab": 9,
    "/": 191,
    "[": 219,
    "]": 221,
    "?": 191,
}
_START_TIMEOUT_S = 60
_REPLY_TIMEOUT_S = 60


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `console` collects errors and messages, `requests` every URL that was asked for."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._last_id = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._traced: list[dict[str, Any]] | None = None
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a protocol method and wait for its result; events on the way are collected."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            reply = json.loads(self._socket.recv())
            if reply.get("id") == self._last_id:
                assert "error" not in reply, reply
                result: dict[str, Any] = reply["result"]
                return result
            self._note(reply)

    def open(self, path: Path) -> None:
        """Load a local file and wait until it is there."""
        self._loaded = False
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._note(json.loads(self._socket.recv()))

    def evaluate(self, expression: str, *, may_fail: bool = False) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        reply = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert may_fail or "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release one key, such as `ArrowRight` or `r`."""
        typed = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown" if typed else "rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key if len(key) > 1 else "",
                windowsVirtualKeyCode=_KEY_CODES.get(key, ord(key.upper()[0])),
                **(typed if kind == "keyDown" else {}),
            )

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of the first element that matches."""
        x, y = self.middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where the first element that matches is in the window, scrolled to if it must be."""
        x, y = self.evaluate(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                const box = () => found.getBoundingClientRect();
                const out = () => box().top < 0 || box().bottom > window.innerHeight;
                if (out()) found.scrollIntoView({{ block: "center" }});
                return [box().x + box().width / 2, box().y + box().height / 2];
            }})()"""
        )
        return float(x), float(y)

    def write(self, selector: str, text: str) -> None:
        """Click into a field and write text into it, in place of what stands there."""
        self.click(selector)
        self.evaluate("document.activeElement.select(); 1")
        if not text:
            self.press("Delete")
        self.send("Input.insertText", text=text)

    def wheel(self, by_px: int, x: float = 300, y: float = 500) -> None:
        """Turn the mouse wheel once."""
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by_px)

    def settle(self) -> None:
        """Wait until what was just done is drawn."""
        self.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def trace(self) -> list[dict[str, Any]]:
        """End the trace that `Tracing.start` began, and all its events."""
        events: list[dict[str, Any]] = []
        self._traced = events
        self.send("Tracing.end")
        while self._traced is not None:
            self._note(json.loads(self._socket.recv()))
        return events

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.console.append(json.dumps(parameters))
        elif method == "Tracing.dataCollected" and self._traced is not None:
            self._traced += parameters["value"]
        elif method == "Tracing.tracingComplete":
            self._traced = None
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextmanager
def open_browser(chromium: str, profile: Path) -> Iterator[Page]:
    """Start Chromium with a fresh profile folder, yield its tab, and end it."""
    import websocket

    command = [chromium, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = _tab_address(profile, process)
        socket = websocket.create_connection(
            address, timeout=_REPLY_TIMEOUT_S, suppress_origin=True
        )
        try:
            yield Page(socket)
        finally:
            socket.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def _tab_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Chromium ended with status {process.returncode}"
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if lines:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list") as reply:
                tabs = [tab for tab in json.load(reply) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium did not open its debugging port in time")
