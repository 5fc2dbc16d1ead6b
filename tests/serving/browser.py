"""A browser that tests can drive: Chromium through the WebDriver protocol.

Source:
    https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key under which the protocol names an element."""


class Browser:
    """A headless Chromium with one window."""

    def __init__(self, width: int = 1000, height: int = 900) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        driver = shutil.which("chromedriver")
        assert driver
        self._driver = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._base = f"http://127.0.0.1:{port}"
        self._size = f"--window-size={width},{height}"
        self._session = ""

    def __enter__(self) -> Self:
        for _ in range(300):
            try:
                self._call("GET", "/status")
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", self._size]
        options = {"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self._session = f"/session/{answer['sessionId']}"
        # Whether the window has the focus depends on how a machine starts it; the page behaves as if it had.
        focused = {"cmd": "Emulation.setFocusEmulationEnabled", "params": {"enabled": True}}
        self._call("POST", f"{self._session}/goog/cdp/execute", focused)
        return self

    def __exit__(self, *_: object) -> None:
        if self._session:
            self._call("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait()

    def open(self, address: str) -> None:
        """Go to a page."""
        self._call("POST", f"{self._session}/url", {"url": address})

    def choose_files(self, selector: str, *files: Path) -> None:
        """Choose files in a file input, as a person does."""
        element = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        text = "\n".join(str(file) for file in files)
        self._call("POST", f"{self._session}/element/{element[ELEMENT]}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press and release a key, wherever the focus is.

        Chromium may drop a key that reaches a page before it shows it, so a key of which the page did not hear is
        pressed again.
        """
        self.until("document.visibilityState === 'visible'")
        self.run("window.heard = 0; addEventListener('keydown', () => window.heard++, {once: true, capture: true})")
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        actions = {"actions": [{"type": "key", "id": "keys", "actions": keys}]}
        for _ in range(100):
            self._call("POST", f"{self._session}/actions", actions)
            if self.run("return window.heard"):
                return
            time.sleep(0.05)
        msg = f"the page never heard of the key {key!r}"
        raise AssertionError(msg)

    def run(self, script: str) -> Any:
        """Run a script in the page; `return` gives its value."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def until(self, script: str, timeout_s: float = 60) -> Any:
        """Wait until an expression in the page is truthy, and return it."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.run(f"return {script}")):
            assert time.monotonic() < deadline, f"still falsy: {script}"
            time.sleep(0.05)
        return value

    def complaints(self) -> list[str]:
        """What the browser's console has to say, errors and warnings."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    def role_and_name(self, selector: str) -> tuple[str, str]:
        """What a screen reader is told of an element."""
        element = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        base = f"{self._session}/element/{element[ELEMENT]}"
        return self._call("GET", f"{base}/computedrole"), self._call("GET", f"{base}/computedlabel")

    def screenshot(self) -> bytes:
        """The window as a PNG."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, content, headers, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
            return json.loads(response.read())["value"]
