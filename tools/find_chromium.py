"""Where Chromium is, how to start it, and how to get it: for make pdf and the browser tests."""

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ELSEWHERE = (  # where the installers of macOS and Windows put it, off the PATH
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
HOW_TO_GET = (
    "no Chromium found: install it with apt-get install chromium (Debian, Ubuntu), brew install --cask chromium (macOS), "
    "or install Google Chrome"
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    return on_path or next((place for place in ELSEWHERE if os.access(Path(place), os.X_OK)), None)
