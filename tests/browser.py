"""Pages in headless Chromium by its DevTools protocol over pipes: layout, console, screenshots."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NO_BROWSER = "there is no chromium on the PATH"
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--no-first-run",
)
# The browser reads its third descriptor and writes its fourth; on the way there neither may
# overwrite the other.
_START = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(place), fcntl.F_DUPFD, 10) for place in sys.argv[1:3]]
for number, pipe in enumerate(pipes, start=3):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
# How far the page, and each element outside a box that scrolls, sticks out at the right.
_LAYOUT = """(async () => {
  const sounds = [...document.querySelectorAll("audio")];
  await Promise.all(sounds.map(sound => sound.readyState || new Promise(done => {
    sound.onloadedmetadata = sound.onerror = done;
  })));
  const wide = [...document.querySelectorAll("body *")].filter(each => !each.closest(".scroll") &&
    each.getClientRects().length && each.getBoundingClientRect().right > innerWidth + 1);
  return {
    overflow: document.scrollingElement.scrollWidth - innerWidth,
    wide: wide.map(each => each.tagName + "." + each.className),
    height: document.scrollingElement.scrollHeight,
    images: [...document.images].every(image => image.complete && image.naturalWidth > 0),
    smallest: Math.min(...[...document.querySelectorAll("body *")].filter(each => each.innerText)
      .map(each => parseFloat(getComputedStyle(each).fontSize))),
    seconds: sounds.map(each => each.duration),
  };
})()"""


@dataclass
class Shown:
    """A page as it was shown.

    Attributes:
        layout: see `_LAYOUT`.
        complaints: errors and warnings of console, scripts, policy and network.
        picture: PNG of the whole page.
    """

    layout: dict[str, Any]
    complaints: list[str] = field(default_factory=list)
    picture: bytes = b""


class Browser:
    """A running browser; `show` opens a page in it."""

    def __init__(self, requests: int, replies: int):
        self._requests, self._replies = os.fdopen(requests, "wb"), os.fdopen(replies, "rb")
        self._number, self._events, self._rest = 0, [], b""

    def show(self, page: Path, width: int, *, dark: bool = False) -> Shown:
        """Opens a page at a width in CSS pixels and looks at it."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", session, features=scheme)
        self._call("Page.navigate", session, url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._message())
        result = self._call(
            "Runtime.evaluate", session, expression=_LAYOUT, returnByValue=True, awaitPromise=True
        )["result"]
        shown = Shown(result["value"], self._complaints())
        picture = self._call("Page.captureScreenshot", session, captureBeyondViewport=True)
        shown.picture = base64.b64decode(picture["data"])
        self._call("Target.closeTarget", targetId=target)
        return shown

    def _complaints(self) -> list[str]:
        kinds = (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Network.loadingFailed",
        )
        loaded = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]
        other = [url[:100] for url in loaded if not url.startswith(("file:", "data:"))]
        return other + [
            json.dumps(event["params"])[:500] for event in self._events if event["method"] in kinds
        ]

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while (reply := self._message()).get("id") != self._number:
            self._events.append(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = os.read(self._replies.fileno(), 1 << 20)
            assert block, "the browser has ended"
            self._rest += block
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Runs a browser with a folder of its own."""
    assert BROWSER is not None
    (read_requests, requests), (replies, write_replies) = os.pipe(), os.pipe()
    places = (read_requests, write_replies)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _START,
            *map(str, places),
            BROWSER,
            *_OPTIONS,
            f"--user-data-dir={profile}",
        ],
        pass_fds=places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_requests)
    os.close(write_replies)
    running = Browser(requests, replies)
    try:
        yield running
    finally:
        running._call("Browser.close")
        process.wait(timeout=PATIENCE_S)


def check_layout(page: Path, profile: Path) -> None:
    """Checks a page on a desktop and, dark, on a phone: layout, sizes of text, images, messages."""
    with browser(profile) as running:
        for width, dark in ((1280, False), (390, True)):
            shown = running.show(page, width, dark=dark)
            assert shown.complaints == []
            assert shown.layout["overflow"] <= 0 and shown.layout["wide"] == []
            assert shown.layout["images"] and shown.layout["smallest"] >= 11
            # null: it cannot be played
            assert all(seconds and seconds > 1 for seconds in shown.layout["seconds"])
            assert shown.picture.startswith(b"\x89PNG")
