"""A headless Chromium, spoken to in the DevTools protocol over a pipe.

It looks at a page from outside, so that the page stays as it is, with its policy against scripts.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds
PHONE, DESK, A4 = 360, 1280, 794  # widths in pixels

LOOK = """(() => {
  const figures = {};
  for (const figure of document.querySelectorAll(".figure")) {
    const live = figure.querySelector(".live svg");
    const image = figure.querySelector(".static");
    figures[figure.id.replace("figure-", "")] = {
      symbols: figure.querySelectorAll(".live .mark-symbol.role-mark path").length,
      cells: figure.querySelectorAll(".live .mark-rect.role-mark path").length,
      width: live ? live.getBoundingClientRect().width : 0,
      room: figure.clientWidth,
      image: image ? image.naturalWidth : 0,
      image_seen: image ? getComputedStyle(image).display !== "none" : false,
    };
  }
  const visible = (each) => each.checkVisibility() && each.getBoundingClientRect().width > 0;
  return {
    drawn: document.documentElement.dataset.drawn,
    width: innerWidth,
    needed: document.documentElement.scrollWidth,
    too_wide: [...document.querySelectorAll("body *")]
      .filter((each) => visible(each) && each.getBoundingClientRect().right > innerWidth + 1)
      .filter((each) => !each.closest(".scroll, .skip, .hidden, .live svg"))
      .map((each) => each.outerHTML.slice(0, 80)),
    figures,
    hacked: String(window.hacked),
    tables_shown: [...document.querySelectorAll("details.short")].every((each) => each.open),
  };
})()"""


@dataclass(frozen=True)
class Opened:
    """A page that was opened.

    Attributes:
        found: What `LOOK` saw.
        complaints: Everything that the console said, and every exception.
        requests: Addresses that the page asked for, besides its own.
        screenshot: PNG of the whole page.
    """

    found: dict[str, Any]
    complaints: list[str]
    requests: list[str]
    screenshot: bytes


def check_opened(opened: Opened, width: int) -> None:
    """Nothing went wrong, was fetched, ran that should not, or is wider than the window."""
    assert opened.complaints == []
    assert opened.requests == []
    assert opened.found["hacked"] == "undefined"
    assert opened.found["width"] == opened.found["needed"] == width
    assert opened.found["too_wide"] == []


@dataclass
class Browser:
    """A Chromium process."""

    path: str
    profile: Path
    _number: int = 0
    _buffer: bytes = b""
    _events: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "Browser":
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # Chromium reads commands from file 3 and writes to file 4, wherever the pipes are here.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
        for fd in (theirs_in, theirs_out):
            os.close(fd)
        self._process = subprocess.Popen(
            [
                *(self.path, "--headless=new", "--no-sandbox", "--disable-gpu"),
                "--hide-scrollbars",
                *("--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank"),
            ],
            preexec_fn=lambda: [os.dup2(fd, number) for fd, number in zip(high, (3, 4))],  # noqa: B905
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in high:
            os.close(fd)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._send("Browser.close", {}, None)
        self._process.wait(PATIENCE)
        os.close(self._read)
        os.close(self._write)

    def open(self, page: Path, width: int, height: int = 900, media: str = "screen") -> Opened:
        """Open a page in a tab of this size, and wait until it says that all is drawn.

        Args:
            page: The file.
            width: Of the window, in CSS pixels.
            height: Of the window.
            media: ``screen`` or ``print``.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", tab)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", tab, **size)
        self.call("Emulation.setEmulatedMedia", tab, media=media)
        self._events.clear()
        self.call("Page.navigate", tab, url=page.as_uri())
        end = time.monotonic() + PATIENCE
        while self.evaluate(tab, "document.documentElement?.dataset.drawn") != "all":
            assert time.monotonic() < end, f"not drawn: {self._complaints()}"
            time.sleep(0.1)
        if media == "print":
            self.evaluate(tab, "dispatchEvent(new Event('beforeprint')), null")
        found = self.evaluate(tab, LOOK)
        shot = self.call("Page.captureScreenshot", tab, captureBeyondViewport=True)
        opened = Opened(
            found, self._complaints(), self._requests(page), base64.b64decode(shot["data"])
        )
        self.call("Target.closeTarget", targetId=target)
        return opened

    def evaluate(self, tab: str, expression: str) -> Any:
        """The value of a JavaScript expression in a tab."""
        found = self.call("Runtime.evaluate", tab, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def call(self, method: str, tab: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is kept."""
        number = self._send(method, params, tab)
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._events.append(message)

    def _send(self, method: str, params: dict[str, Any], tab: str | None) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if tab:
            message["sessionId"] = tab
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, "Chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _complaints(self) -> list[str]:
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(each["params"]) for each in self._events if each.get("method") in kinds]

    def _requests(self, page: Path) -> list[str]:
        sent = (e["params"] for e in self._events if e.get("method") == "Network.requestWillBeSent")
        urls = (params["request"]["url"] for params in sent)
        return [url for url in urls if url != page.as_uri() and not url.startswith("data:")]
