"""Two processes against one: losses, parameters, the command line. One that is killed, or stops, is an error and no hang."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import parallel_cells
import psutil
import pytest
import torch
from errors import assert_one_line_error, case_name
from parallel_cells import EXPERTS, MODELS, TEXT, fresh, trained

from lttlib.moe import Experts, MoELayer, TopKRouter
from lttlib.moe.parallel import ParallelExperts, parallelize
from lttlib.moe.ranks import RankError, Ranks, joined
from lttlib.moe.train_parallel import Batches, main, train_over_ranks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gloo's processes are started and stopped as on POSIX systems")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
COMMAND = ["-m", "lttlib.moe.train_parallel"]
SMALL = [f"--{name}={value}" for name, value in
         {"width": 8, "hidden": 6, "context": 8, "batch-size": 6, "experts": 6}.items()]  # fmt: skip
QUIET = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
FOREVER = "--steps=1000000"


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """A file for --text."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT.decode(torch.cat([TEXT.train, TEXT.validation])))
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory, text) -> tuple[list[dict], dict]:
    """What two ranks found: the cells of each, and the record of the command line."""
    folder = tmp_path_factory.mktemp("ranks")
    options = [*SMALL, f"--text={text}", "--steps=5", f"--out={folder / 'two.json'}"]
    for command in ([parallel_cells.__file__, str(folder)], [*COMMAND, *options]):
        done = subprocess.run(
            [*TORCHRUN, *command], env=QUIET, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("step     0  loss") == 1  # one rank speaks
    ranks = [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1)]
    return ranks, json.loads((folder / "two.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_are_one(found, name):
    """By SGD, whose steps show the size of a gradient, all but one.

    The bias of an attention's keys has gradient 0 but for rounding, and Adam takes steps of a size of its own for it.
    """
    first, second = (rank[name] for rank in found[0])
    one = trained(name, None)
    tolerance = {"single precision": 1e-5, "Adam": 1e-8}.get(name, 1e-12)
    assert len(one["losses"]) == parallel_cells.STEPS and len(set(one["losses"])) == parallel_cells.STEPS
    assert first["losses"] == second["losses"] == pytest.approx(one["losses"], abs=tolerance)
    assert first["parameters"].keys() == second["parameters"].keys() == one["parameters"].keys()
    before = dict(fresh(name).named_parameters())
    for key, expected in one["parameters"].items():
        assert first["parameters"][key].equal(second["parameters"][key])
        assert first["parameters"][key].shape == expected.shape
        assert first["parameters"][key].allclose(expected, rtol=0, atol=tolerance), key
        assert not expected.equal(before[key]), key  # it was trained


def test_the_cases_are_what_they_are_called(found):
    """Experts that got no token stay as they were drawn; each rank holds half of the experts and all else."""
    idle = {"an idle expert": [3], "all tokens to rank 0": [2, 3], "all tokens to rank 1": [0, 1]}
    for name, result in found[0][0].items():
        before = dict(fresh(name).named_parameters())
        for key, after in result["parameters"].items():
            if ".experts." in key:
                still = [e for e in range(EXPERTS) if after[e].equal(before[key][e].detach())]
                assert still == idle.get(name, []), (name, key)
        experts = sum(p.numel() for key, p in before.items() if ".experts." in key)
        everything = sum(p.numel() for p in before.values())
        assert [rank[name]["held"] for rank in found[0]] == [everything - experts // 2] * 2


def test_the_command_line(found, text, tmp_path, capsys):
    out = tmp_path / "one.json"
    assert main([*SMALL, f"--text={text}", "--steps=5", f"--out={out}"]) == 0
    one, two = json.loads(out.read_text()), found[1]
    assert len(one["losses"]) == 5 and two["losses"] == pytest.approx(one["losses"], abs=1e-12)
    assert one["losses"][-1] < one["losses"][0]
    assert (one["processes"], two["processes"]) == (1, 2) and one["settings"] == two["settings"]
    assert one["settings"]["dtype"] == "float64" and one["versions"]["torch"] == two["versions"]["torch"]
    experts = 2 * 6 * (8 * 6 + 6 + 6 * 8 + 8)  # of two layers
    assert one["weights_per_process"] - two["weights_per_process"] == experts // 2
    assert f"step     0  loss {one['losses'][0]:.4f}" in capsys.readouterr().out


def start(ranks: int, *options: str) -> list[subprocess.Popen]:
    """The command line in processes that no torchrun looks after: nobody but they themselves can notice a death."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = QUIET | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    return [
        subprocess.Popen([sys.executable, *COMMAND, *SMALL, *options], env=common | {"RANK": str(rank)}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(ranks)
    ]  # fmt: skip


def end(processes) -> None:
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "ranks, number, options", [(3, signal.SIGKILL, []), (2, signal.SIGSTOP, ["--timeout=5"])], ids=["killed", "stopped"]
)
def test_a_lost_rank_is_named(text, ranks, number, options):
    """The last of three dies, or one of two is silent for longer than the timeout: the others say who, and end."""
    processes = start(ranks, FOREVER, f"--text={text}", *options)
    try:
        assert "step     0" in processes[0].stdout.readline()
        processes[-1].send_signal(number)
        since = time.monotonic()
        for rank, process in enumerate(processes[:-1]):
            said = process.communicate(timeout=60)[1]
            assert process.returncode == 2 and time.monotonic() - since < 60
            (line,) = [line for line in said.splitlines() if line.startswith("error")]
            assert f"rank {rank} of {ranks} got no answer from rank {ranks - 1} (" in line and "Traceback" not in said
    finally:
        end(processes)


def test_torchrun_ends_when_a_rank_is_killed(text):
    command = [*TORCHRUN, *COMMAND, *SMALL, FOREVER, f"--text={text}"]
    torchrun = subprocess.Popen(command, env=QUIET, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    workers = []
    try:
        assert "step     0" in torchrun.stdout.readline()
        workers = psutil.Process(torchrun.pid).children(recursive=True)
        (second,) = [worker for worker in workers if worker.environ().get("RANK") == "1"]
        second.kill()
        since = time.monotonic()
        said = torchrun.communicate(timeout=60)[1]
        assert torchrun.returncode != 0 and time.monotonic() - since < 60
        assert re.search(r"rank +: 1 .*\n.*exitcode +: -9", said) and not any(
            map(psutil.pid_exists, (w.pid for w in workers))
        )
    finally:
        end([torchrun, *[worker for worker in workers if worker.is_running()]])


def test_who_never_came_is_an_error(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
            monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("lttlib.moe.ranks.START", 0.5)

    def call():
        with joined():
            pytest.fail("one of two cannot start")

    assert_one_line_error(call, "not all ranks came within 0.5 s", error=RankError)


def test_alone_there_are_no_ranks(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with joined() as ranks:
        assert ranks is None


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def layer(experts=4, noisy=False, **options) -> MoELayer:
    router = TopKRouter(3, experts, 1, noisy=noisy, generator=draw())
    return MoELayer(router, Experts(experts, 3, 5, generator=draw()), **options)


FIRST = Ranks(None, 0, 2, torch.device("cpu"))  # of two; nothing is sent before the arguments are checked


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ParallelExperts(Experts(3, 3, 5, generator=draw()), FIRST), ("experts", "3", "multiple of 2")),
        (lambda: parallelize(layer(5), FIRST), ("experts", "5", "multiple of 2")),
        (lambda: parallelize(torch.nn.Linear(2, 2), FIRST), ("model", "Linear", "one MoELayer")),
        (lambda: parallelize(layer(capacity_factor=1), FIRST), ("capacity_factor", "1", "None, dropless")),
        (lambda: parallelize(layer(noisy=True), FIRST), ("noisy", "True", "number of ranks")),
        (lambda: Batches(TEXT, 0, 3, 8).of(0, FIRST), ("batch_size", "3", "multiple of 2")),
        (lambda: train_over_ranks(layer(), Batches(TEXT, 0, 4, 8), ranks=None, steps=0), ("steps", "0", "1 or more")),
        (lambda: joined("gpu").__enter__(), ("device", "'gpu'", "'cuda'")),
        (lambda: joined(timeout=0).__enter__(), ("timeout", "0", "more than 0")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_a_loss_that_is_no_number_ends_the_run():
    """By hash: no router looks at its logits first."""
    batches, steepest = Batches(TEXT, 0, 4, 8), partial(torch.optim.SGD, lr=1e200)
    with pytest.raises(FloatingPointError, match=r"at step [12]; lower the learning rate"):
        train_over_ranks(fresh("by hash"), batches, ranks=None, steps=5, optimizer=steepest)


def test_errors_on_the_command_line(tmp_path, text, capsys):
    for options, words in (
        (["--text", str(tmp_path / "none.txt")], "does not exist"),
        ([f"--text={text}", "--k=9"], "k = 9"),
        ([f"--text={text}", "--steps=9", "--lr=1e80", *SMALL], "did the loss diverge?"),
    ):
        assert main(options) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and words in said and said.count("\n") == 1
