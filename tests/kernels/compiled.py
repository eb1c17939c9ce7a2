"""What tests of kernels for GPUs share: where they run, and what a kernel became when it was compiled."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from numba.core import config

TARGETS = {"sm_75": (7, 5), "sm_90": (9, 0)}  # kinds of GPU

compiles = pytest.mark.skipif(
    config.ENABLE_CUDASIM or (find_spec("numba_cuda") is None and os.environ.get("LTT_REQUIRE_CUDA_COMPILER") != "1"),
    reason="numba-cuda is not installed: .venv/bin/python -m pip install -e '.[cuda]'",
)


def passed_in_the_simulator(file: str | Path) -> int:
    """How many tests of a file pass in a process of its own: Numba chooses GPU or simulator when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    found = subprocess.run(command, env=environment | {"NUMBA_ENABLE_CUDASIM": "1"}, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    passed = re.search(r"^(\d+) passed", found.stdout, re.MULTILINE)
    assert passed, found.stdout
    return int(passed[1])


def shared_bytes(ptx: str) -> int:
    """Static shared memory of a kernel."""
    found = re.findall(r"^[^/\n]*\.shared .*\.b8 \w+\[(\d+)\];", ptx, re.MULTILINE)
    return sum(map(int, found))


def registers_and_spills(ptx: str, target: tuple[int, int]) -> tuple[int, int]:
    """Registers of a thread, and bytes it must keep in memory for want of them, in machine code for the target."""
    from cuda.bindings import nvjitlink

    linker = nvjitlink.create(2, [f"-arch=sm_{target[0]}{target[1]}", "-verbose"])
    nvjitlink.add_data(linker, nvjitlink.InputType.PTX, ptx.encode(), len(ptx), "kernel")
    nvjitlink.complete(linker)
    log = bytearray(nvjitlink.get_info_log_size(linker))
    nvjitlink.get_info_log(linker, log)
    found = [re.findall(pattern, log.decode()) for pattern in (r"[Uu]sed (\d+) registers", r"(\d+) bytes spill stores")]
    assert all(found), log.decode()
    registers, spills = (max(map(int, counts)) for counts in found)
    return registers, spills
