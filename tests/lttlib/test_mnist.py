"""MNIST: found, cached, downloaded, damaged, missing. A tiny set of IDX files stands in for the real one."""

import gzip
import hashlib
import io
import os
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name

from lttlib import data
from lttlib.data import DataError, mnist

TRAIN, TRAIN_LABELS, TEST, TEST_LABELS = data.MNIST_SHA256


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


RNG = np.random.default_rng(0)
TINY = {
    TRAIN: idx(RNG.integers(0, 256, (5, 28, 28))),
    TRAIN_LABELS: idx(np.array([3, 1, 4, 1, 5])),
    TEST: idx(RNG.integers(0, 256, (2, 28, 28))),
    TEST_LABELS: idx(np.array([9, 2])),
}


class Network:
    """Stands in for urllib: serves packed files by name, or fails, and remembers what was asked for."""

    def __init__(self, files: dict[str, bytes], broken_mirrors=()):
        self.files, self.broken, self.asked = files, broken_mirrors, []

    def open(self, address: str, timeout=None):
        self.asked.append(address)
        name = address.rsplit("/", 1)[1].removesuffix(".gz")
        if name not in self.files or any(address.startswith(mirror) for mirror in self.broken):
            raise urllib.error.URLError("no route to host")
        response = io.BytesIO(self.files[name])
        response.headers = {"Content-Length": str(len(self.files[name]))}
        return response


@pytest.fixture
def connect(monkeypatch, tmp_path):
    """Patches the hashes, the folders and the network; call it with what the network serves."""
    monkeypatch.setattr(data, "MNIST_SHA256", {name: hashlib.sha256(plain).hexdigest() for name, plain in TINY.items()})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LTT_DATA", raising=False)

    def connected(plain: dict[str, bytes], **options) -> Network:
        network = Network({name: gzip.compress(content) for name, content in plain.items()}, **options)
        monkeypatch.setattr(data.urllib.request, "urlopen", network.open)
        return network

    return connected


def store(folder: Path, files: dict[str, bytes] = TINY) -> Path:
    folder.mkdir(parents=True)
    for name, plain in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(plain))
    return folder


def require_tiny(found) -> None:
    assert found.name == "mnist" and found.x_train.shape == (5, 784) and found.x_test.shape == (2, 784)
    assert found.y_train.tolist() == [3, 1, 4, 1, 5] and found.y_test.tolist() == [9, 2]
    assert found.x_train.dtype == torch.float32 and found.y_train.dtype == torch.int64
    for x, name in ((found.x_train, TRAIN), (found.x_test, TEST)):
        assert (x * 255).round().to(torch.uint8).numpy().tobytes() == TINY[name][16:]


def test_downloaded_once_then_taken_from_the_cache(connect, tmp_path):
    network = connect(TINY)
    require_tiny(mnist())
    assert len(network.asked) == 4
    cached = sorted(path.name for path in (tmp_path / "cache" / "lttlib" / "mnist").iterdir())
    assert cached == sorted(f"{name}.gz" for name in TINY)
    offline = connect({})
    require_tiny(mnist())
    require_tiny(mnist(download=False))
    assert not offline.asked


def test_second_mirror_serves_where_the_first_fails(connect):
    network = connect(TINY, broken_mirrors=data.MNIST_MIRRORS[:1])
    require_tiny(mnist())
    assert len(network.asked) == 8 and network.asked[1].startswith(data.MNIST_MIRRORS[1])


def test_own_folder_comes_first_and_needs_no_network(connect, tmp_path, monkeypatch):
    network = connect({})
    store(tmp_path / "mine" / "mnist")
    monkeypatch.setenv("LTT_DATA", str(tmp_path / "mine"))
    require_tiny(mnist())
    assert not network.asked and not (tmp_path / "cache").exists()
    store(tmp_path / "cache" / "lttlib" / "mnist", dict.fromkeys(TINY, b"damaged"))
    require_tiny(mnist())


def test_folder_without_mnist_falls_back_to_the_cache(connect, tmp_path, monkeypatch):
    connect({})
    store(tmp_path / "cache" / "lttlib" / "mnist")
    monkeypatch.setenv("LTT_DATA", str(tmp_path / "empty"))
    require_tiny(mnist())


def test_cache_folder_without_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert data.cache_folder() == tmp_path / ".cache" / "lttlib"


def test_offline_without_data(connect, tmp_path):
    connect({})
    words = ("mnist", f"{TRAIN}.gz", str(tmp_path / "cache"), "no route to host", "go online", "LTT_DATA")
    assert_one_line_error(mnist, *words, error=DataError)
    assert_one_line_error(lambda: mnist(download=False), f"{TRAIN}.gz", "LTT_DATA", error=DataError)
    assert not list(tmp_path.rglob("*.gz*"))


def flipped(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 255]) + packed[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:-4],
        flipped,
        lambda packed: b"",
        lambda packed: b"<html>404 not found</html>",
        lambda packed: gzip.compress(gzip.decompress(packed)[:-1]),  # whole, but not what it should be
        lambda packed: gzip.compress(gzip.decompress(packed)[:-1] + b"\x07"),
    ],
    ids=["half", "end missing", "byte flipped", "empty", "web page", "shorter", "other"],
)
def test_damaged_file_is_named_and_kept_out(connect, tmp_path, monkeypatch, damage):
    network = connect(TINY)
    path = store(tmp_path / "mine" / "mnist") / f"{TEST}.gz"
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setenv("LTT_DATA", str(tmp_path / "mine"))
    assert_one_line_error(mnist, "mnist", str(path), "damaged", "delete it", "SHA-256", error=DataError)
    assert not network.asked


def test_damaged_download_is_not_kept(connect, tmp_path):
    connect(TINY | {TRAIN: b"captive portal"})
    assert_one_line_error(mnist, "the download", TRAIN, "damaged", "run again", error=DataError)
    assert not list(tmp_path.rglob("*.gz*"))
    connect(TINY)
    require_tiny(mnist())


@pytest.mark.parametrize(
    "plain, words",
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", (TRAIN_LABELS, "header", "IDX")),
        (idx(np.array([1, 2, 3]))[:-1], (TRAIN_LABELS, "2 bytes", "promises 3")),
    ],
    ids=case_name,
)
def test_right_hash_but_no_idx(connect, tmp_path, monkeypatch, plain, words):
    connect({})
    monkeypatch.setitem(data.MNIST_SHA256, TRAIN_LABELS, hashlib.sha256(plain).hexdigest())
    store(tmp_path / "cache" / "lttlib" / "mnist", TINY | {TRAIN_LABELS: plain})
    assert_one_line_error(mnist, *words, error=DataError)


def test_the_real_one(monkeypatch, tmp_path):
    if not (Path(os.environ.get("LTT_DATA", "nowhere")) / "mnist" / f"{TRAIN}.gz").exists():
        pytest.skip("MNIST not found: set LTT_DATA to the folder that holds mnist/ with its four .gz files")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = mnist(download=False)
    assert found.x_train.shape == (60_000, 784) and found.x_test.shape == (10_000, 784)
    assert found.y_train[:5].tolist() == [5, 0, 4, 1, 9] and found.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert torch.bincount(found.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(found.x_train.mean()) == pytest.approx(0.1307, abs=1e-4) and float(found.x_train.max()) == 1
