"""Data sets: digits and disguised digits (embedded, no download), MNIST (local folder, cache, or download).

Every data set is split once, the same way for everybody. Nothing is unpickled.
"""

import gzip
import hashlib
import math
import os
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from tqdm.auto import tqdm

DIGITS_SPLIT_SEED = 0
DIGITS_TEST_ROWS = 597
DISGUISES = ("as is", "inverted", "transposed", "both")
LABEL_SHIFTS = (0, 3, 5, 7)

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {  # of the uncompressed files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataError(RuntimeError):
    """A data set is missing or damaged; the message says which file and what to do."""


@dataclass(frozen=True)
class Data:
    """One split data set. x: float32 (rows, features), flat; y: int64 (rows,)."""

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int = 10

    @property
    def features(self) -> int:
        """Number of input features."""
        return self.x_train.shape[1]


def digits() -> Data:
    """scikit-learn's 8x8 handwritten digits, 1,200 training and 597 test images, pixels in [0, 1]."""
    bunch = load_digits()
    order = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(bunch.target))
    x = torch.tensor(bunch.data[order] / 16, dtype=torch.float32)
    y = torch.tensor(bunch.target[order], dtype=torch.int64)
    return Data("digits", x[:-DIGITS_TEST_ROWS], y[:-DIGITS_TEST_ROWS], x[-DIGITS_TEST_ROWS:], y[-DIGITS_TEST_ROWS:])


def disguise(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every image in each of the four disguises: (x, y, disguise), four times the rows, grouped by disguise.

    As is, inverted, transposed, both; pixels shifted by -0.5; the label moves by 0, 3, 5, 7 (mod 10). x: (rows, 64).
    """
    image = x.view(-1, 8, 8)
    turned = image.transpose(1, 2)
    views = [image, 1 - image, turned, 1 - turned]
    new_x = torch.cat([view.reshape(-1, 64) - 0.5 for view in views])
    new_y = torch.cat([(y + shift) % 10 for shift in LABEL_SHIFTS])
    return new_x, new_y, torch.arange(4).repeat_interleave(len(y))


def disguised_digits() -> Data:
    """Digits in four disguises: 4,800 training and 2,388 test rows. Harder than digits, with a known structure.

    A linear model cannot solve it, because each disguise moves the labels. The split comes first, so no image is on
    both sides. Rows are grouped by disguise: row i wears DISGUISES[i // (rows // 4)].
    """
    plain = digits()
    x_train, y_train, _ = disguise(plain.x_train, plain.y_train)
    x_test, y_test, _ = disguise(plain.x_test, plain.y_test)
    return Data("disguised digits", x_train, y_train, x_test, y_test)


def mnist(*, download: bool = True) -> Data:
    """MNIST, 60,000 training and 10,000 test images as (rows, 784) in [0, 1].

    Looked for in $LTT_DATA/mnist, then in the user cache (~/.cache/lttlib/mnist), then downloaded into the cache.
    The SHA-256 of every uncompressed file is verified. Raises DataError, saying what to do.
    """
    read = {name: _mnist_file(name, download) for name in MNIST_SHA256}

    def images(name):
        return torch.from_numpy(_idx(read[name], name)).flatten(1).float() / 255

    def labels(name):
        return torch.from_numpy(_idx(read[name], name)).long()

    return Data(
        "mnist",
        images("train-images-idx3-ubyte"),
        labels("train-labels-idx1-ubyte"),
        images("t10k-images-idx3-ubyte"),
        labels("t10k-labels-idx1-ubyte"),
    )


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/lttlib or ~/.cache/lttlib."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lttlib"


def _mnist_file(name: str, download: bool) -> bytes:
    """The verified, uncompressed bytes of one MNIST file."""
    folders = [cache_folder() / "mnist"]
    if os.environ.get("LTT_DATA"):
        folders.insert(0, Path(os.environ["LTT_DATA"]) / "mnist")
    for folder in folders:
        path = folder / f"{name}.gz"
        if path.exists():
            return _verified(path.read_bytes(), name, path, "delete it and run again to fetch it anew")
    looked = " and ".join(map(str, folders))
    if not download:
        raise DataError(f"mnist: {name}.gz is not in {looked}; set LTT_DATA to the folder that holds mnist/")
    packed = _download(f"{name}.gz", looked)
    plain = _verified(
        packed, name, "the download", "run again, or copy the file by hand into a folder that LTT_DATA names"
    )
    folders[-1].mkdir(parents=True, exist_ok=True)
    unfinished = folders[-1] / f"{name}.gz.{os.getpid()}"
    unfinished.write_bytes(packed)
    unfinished.replace(folders[-1] / f"{name}.gz")
    return plain


def _verified(packed: bytes, name: str, origin, remedy: str) -> bytes:
    try:
        plain = gzip.decompress(packed)
        found = hashlib.sha256(plain).hexdigest()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        found = f"not a gzip file ({error})"
        plain = b""
    if found != MNIST_SHA256[name]:
        raise DataError(
            f"mnist: {origin} is damaged (SHA-256 of {name} is {found[:40]}, expected {MNIST_SHA256[name][:12]}...); {remedy}"
        )
    return plain


def _download(filename: str, looked: str) -> bytes:
    reasons = []
    for mirror in MNIST_MIRRORS:
        try:
            with urllib.request.urlopen(mirror + filename, timeout=30) as response:
                size = int(response.headers.get("Content-Length") or 0)
                chunks = []
                with tqdm(total=size or None, unit="B", unit_scale=True, desc=filename) as bar:
                    while chunk := response.read(1 << 16):
                        chunks.append(chunk)
                        bar.update(len(chunk))
                return b"".join(chunks)
        except (urllib.error.URLError, OSError, TimeoutError) as error:
            reasons.append(str(error))
    raise DataError(
        f"mnist: {filename} is not in {looked} and the download failed ({reasons[0]}); go online once, or copy the "
        "four .gz files into a folder mnist/ and set LTT_DATA to the folder above it"
    )


def _idx(plain: bytes, name: str) -> np.ndarray:
    """Parse the IDX format: two zero bytes, type 8 (uint8), number of dimensions, the sizes as big-endian int32."""
    if plain[:3] != b"\x00\x00\x08":
        raise DataError(f"mnist: {name} does not start with the header of an IDX file of bytes")
    ndim = plain[3]
    shape = tuple(int.from_bytes(plain[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim))
    body = np.frombuffer(plain, dtype=np.uint8, offset=4 + 4 * ndim)
    if body.size != math.prod(shape):
        raise DataError(f"mnist: {name} holds {body.size} bytes where its header promises {math.prod(shape)}")
    return body.reshape(shape).copy()
