"""The labs in a real JupyterLab: opened cold, run from top to bottom, sliders moved, an exercise answered wrong and right."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lab_driver import Lab, jupyterlab

ROOT = Path(__file__).parents[2]
LABS = sorted(lab.stem for lab in (ROOT / "notebooks").glob("*.ipynb"))
ALWAYS = "optimal_brain_damage"  # the lab that is run whatever has changed
SECONDS = 900  # about 100 s on an idle machine; two workers, and whoever else is there, share the cores of a busy one

pytestmark = pytest.mark.xdist_group("jupyterlab")  # one server, one worker


def changed_labs(root: Path) -> set[str]:
    """Labs that the last commit or the working tree changes; none where git cannot tell."""
    names = set()
    for question in (("diff", "--name-only", "HEAD~1"), ("status", "--porcelain", "--untracked-files=all")):
        command = ["git", "--no-optional-locks", *question, "--", "notebooks"]
        try:
            answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):  # no git, no repository, or no commit before the last
            continue
        names |= set(re.findall(r"notebooks/(\w+)\.ipynb", answer))
    return names


RUN = [lab for lab in LABS if lab == ALWAYS or lab in changed_labs(ROOT)]


@pytest.fixture(scope="module")
def server(chromium, tmp_path_factory):
    """JupyterLab over a copy of the labs and the records; chromium first, so that nothing starts where there is none."""
    labs = tmp_path_factory.mktemp("labs") / "notebooks"
    shutil.copytree(ROOT / "kernels" / "recorded", labs.parent / "kernels" / "recorded")
    shutil.copytree(ROOT / "notebooks", labs, ignore=shutil.ignore_patterns(".*", "*.partial*"))
    with jupyterlab(labs, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def open_lab(watched, server):
    """open_lab("name") gives the lab in the watched page; its kernel ends with the test."""
    opened = []

    def open_one(name: str) -> Lab:
        opened.append(Lab(watched, server, name))
        return opened[-1]

    yield open_one
    for lab in opened:
        lab.shut_down()


@pytest.mark.parametrize("name", LABS)
def test_lab_opens(open_lab, name):
    """Before a single cell has run: no dialog, no complaint, and the saved figures are there."""
    lab = open_lab(name)
    assert lab.saved_figures() > 0
    pictures = lab.page.locator(".jp-OutputArea figure.explore img")
    lab.wait_for(lambda: pictures.count() == lab.saved_figures(), "the saved figures")
    widths = pictures.evaluate_all("all => Promise.all(all.map(img => img.decode().then(() => img.naturalWidth)))")
    assert min(widths) >= 390
    assert all(pictures.evaluate_all("all => all.map(img => img.alt)"))
    assert lab.page.locator(".jp-Dialog").count() == 0
    assert lab.complaints() == []


@pytest.mark.parametrize("name", RUN)
def test_lab_runs_and_its_sliders_move(open_lab, name):
    lab = open_lab(name)
    lab.menu("Edit", "Clear Outputs of All Cells")
    lab.menu("Run", "Run All Cells")
    assert lab.wait_until_done(SECONDS)["troubles"] == []
    assert "Traceback" not in lab.page.locator(".jp-Notebook").inner_text()
    figures = lab.page.locator(".widget-vbox:has(> .widget-html img.explore-live)")  # the widgets, not the saved HTML
    lab.wait_for(lambda: figures.count() == lab.saved_figures(), "the live figures")
    for figure in figures.all():
        move_first_slider(lab, figure)
    assert lab.state()["troubles"] == []
    assert lab.complaints() == []


def move_first_slider(lab: Lab, figure) -> None:
    """By keyboard; another picture comes, and another text with it."""
    picture, caption = figure.locator("img.explore-live"), figure.locator(".widget-readout").first
    before = picture.get_attribute("src"), picture.get_attribute("alt"), caption.text_content()
    figure.locator(".noUi-handle").first.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.wait_for(lambda: picture.get_attribute("src") != before[0], "another picture")
    after = picture.get_attribute("src"), picture.get_attribute("alt"), caption.text_content()
    assert all(old != new for old, new in zip(before, after, strict=True)), [text[-80:] for text in (*before, *after)]
    assert picture.evaluate("img => img.decode().then(() => img.naturalWidth)") >= 390


ANSWERS = [  # what the reader writes, and what the check must say
    (None, "not attempted yet"),
    ("hessian.diagonal() * weight**2", "wrong.*factor ½"),
    ("hessian.diagonal() * wieght**2", "error.*Line 2.*wieght"),
    ("hessian.diagonal() * weight**2 / 2", "right.*cases"),
]


def test_a_check_answers_the_reader(open_lab):
    lab = open_lab(ALWAYS)
    lab.run_cell("exercise-imports")
    for expression, expected in ANSWERS:
        if expression:
            lab.write("stub-saliency", f"def saliency(weight, gradient, hessian):\n    return {expression}")
        lab.clear("check-saliency")
        lab.run_cell("stub-saliency")
        lab.run_cell("check-saliency")
        said = lab.cell("check-saliency").locator(".verdict").inner_text()
        assert re.search(expected, said, re.DOTALL), said
        assert lab.state()["troubles"] == []
    assert lab.complaints() == []


def test_a_traceback_would_be_noticed(open_lab):
    lab = open_lab(ALWAYS)
    lab.write("exercise-imports", "import sys\nprint('noise', file=sys.stderr)\n1 / 0")
    lab.run_cell("exercise-imports")
    assert sorted(lab.wait_until_done(20)["troubles"]) == [
        "exercise-imports: ZeroDivisionError: division by zero",
        "exercise-imports: stderr: noise\n",
    ]


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_changed_labs(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    assert changed_labs(tmp_path) == set()  # no repository
    (tmp_path / "notebooks").mkdir()
    git(tmp_path, "init")
    for commit in (["old"], ["committed"]):
        for name in commit:
            (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-m", "more")
    assert changed_labs(tmp_path) == {"committed"}
    (tmp_path / "notebooks" / "new.ipynb").write_text("{}")
    (tmp_path / "notebooks" / "old.ipynb").write_text("[]")
    assert changed_labs(tmp_path) == {"committed", "new", "old"}
