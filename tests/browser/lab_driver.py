"""A real JupyterLab for the tests: start it, open a lab in it, run all, and read what the reader would see."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import nbformat

# Without a network and without questions to the reader: no news, no updates, no list of extensions. Nothing is saved.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
QUIET = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True",  # the tests ask it for the state of the notebook
)
CELLS = "[...jupyterapp.shell.currentWidget.content.model.cells]"
STATE = """() => {
  const panel = jupyterapp.shell.currentWidget;
  const code = [...panel.content.model.cells].filter(cell => cell.type === "code" && cell.sharedModel.source.trim());
  return {
    kernel: panel.sessionContext.session?.kernel?.status ?? "none",
    left: code.filter(cell => cell.executionCount === null || cell.executionState === "running").length,
    troubles: code.flatMap(cell => cell.outputs.toJSON().filter(
        output => output.output_type === "error" || output.name === "stderr").map(
        output => `${cell.id}: ${output.ename ?? "stderr"}: ${output.evalue ?? output.text}`)),
  };
}"""


class Server(NamedTuple):
    address: str
    token: str
    labs: Path  # the folder it serves


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def jupyterlab(labs: Path, home: Path):
    """Serve the folder labs; yields a Server. home gets every setting, nothing of the reader's is touched."""
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    token, port = secrets.token_hex(16), free_port()
    places = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    environment = os.environ | {f"JUPYTER_{key}_DIR": str(home / place) for key, place in places.items()}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython")}
    environment |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "JUPYTER_PREFER_ENV_PATH": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={labs}", *QUIET]  # fmt: skip
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(server, f"{address}/api/status?token={token}", log)
        yield Server(address, token, labs)
    finally:
        server.terminate()  # it shuts its kernels down
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_until_up(server, address: str, log: Path, seconds: int = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


class Lab:
    """One lab, open in JupyterLab in the page of a browser."""

    def __init__(self, page, server: Server, name: str):
        self.page, self.file = page, server.labs / f"{name}.ipynb"
        self.own = f"asked for {server.address}"
        page.context.route(f"{server.address}/**", lambda route: route.continue_())
        page.set_default_timeout(60_000)  # a kernel on a busy machine takes its time
        page.set_viewport_size({"width": 1400, "height": 1000})
        page.goto(f"{server.address}/lab/tree/{name}.ipynb?reset&token={server.token}")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length > 0")
        page.locator(".jp-Notebook").wait_for()
        page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")

    def complaints(self) -> list[str]:
        """Errors in the browser's console, and requests to anything but this server."""
        return [said for said in self.page.complaints if not said.startswith(self.own)]

    def state(self) -> dict:
        """{"kernel": status, "left": code cells still to finish, "troubles": tracebacks and lines on stderr}."""
        return self.page.evaluate(STATE)

    def saved_figures(self) -> int:
        """How many figures with sliders the file shows."""
        cells = nbformat.read(self.file, as_version=4).cells
        shown = (output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", []))
        return sum('<figure class="explore"' in html for html in shown)

    def menu(self, menu: str, item: str) -> None:
        """Click an item of the menu bar, as a reader does."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def wait_for(self, happened, what: str, seconds: int = 30) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}: {self.state()}"
            self.page.wait_for_timeout(200)

    def wait_until_done(self, seconds: int) -> dict:
        """The state once nothing runs any more; a traceback ends a run, and leaves cells that will not be run."""
        done = {}

        def finished() -> bool:
            done.update(self.state())
            return done["kernel"] == "idle" and (done["left"] == 0 or bool(done["troubles"]))

        self.wait_for(finished, "the end of the run", seconds)
        return done

    def cell(self, cell_id: str):
        """The cell with this id in the notebook file."""
        number = self.page.evaluate(f"id => {CELLS}.findIndex(cell => cell.id === id)", cell_id)
        assert number >= 0, f"no cell {cell_id}"
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def write(self, cell_id: str, code: str) -> None:
        """Click into the cell, select everything, type over it."""
        self.cell(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)

    def run_cell(self, cell_id: str) -> None:
        """Click into the cell, press Shift+Enter, wait for its end."""
        count = f"id => {CELLS}.find(cell => cell.id === id).executionCount"
        before = self.page.evaluate(count, cell_id)
        self.cell(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        ran = lambda: self.page.evaluate(count, cell_id) not in (None, before) and self.state()["kernel"] == "idle"  # noqa: E731
        self.wait_for(ran, f"cell {cell_id}", 60)

    def clear(self, cell_id: str) -> None:
        """Forget the cell's output and count, so that an old answer is not read as a new one."""
        self.cell(cell_id).locator(".cm-content").click()
        self.menu("Edit", "Clear Cell Output")

    def shut_down(self) -> None:
        """End the kernel; nothing is saved."""
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
