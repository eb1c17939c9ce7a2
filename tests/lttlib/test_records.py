"""Results as JSON: atomic, readable again, with where they come from."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from errors import assert_one_line_error
from hypothesis import given, settings
from hypothesis import strategies as st

from lttlib.records import provenance, read_json, write_json

ROOT = Path(__file__).parents[2]
text = st.text(alphabet='aé"\\\n\u2028\U0001f600', max_size=6)
flat = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
json_values = st.recursive(flat, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)


@settings(max_examples=10)
@given(json_values)
def test_what_is_written_is_read(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "new" / "folder" / "record.json"
    write_json(path, content)
    assert read_json(path) == content == json.loads(path.read_text())


def test_folder_holds_the_record_alone(tmp_path):
    write_json(tmp_path / "record.json", {"a": 1})
    write_json(str(tmp_path / "record.json"), {"a": 2})
    assert os.listdir(tmp_path) == ["record.json"]
    assert (tmp_path / "record.json").read_text() == '{\n "a": 2\n}\n'


@pytest.mark.parametrize("bad", [math.nan, math.inf, {1, 2}])
def test_what_is_not_json_leaves_the_old_record(tmp_path, bad):
    path = tmp_path / "record.json"
    write_json(path, [1])
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"loss": bad})
    assert read_json(path) == [1] and os.listdir(tmp_path) == ["record.json"]


def test_a_crash_while_writing_leaves_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_json(path, [1])

    def half(self, text):
        with open(self, "w") as file:
            file.write(text[: len(text) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError):
        write_json(path, [2] * 100)
    assert read_json(path) == [1]


def test_a_reader_never_sees_half_a_record(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, [1])
    with open(path) as reader:  # opened before, read after: the new record is another file
        write_json(path, [2])
        assert json.load(reader) == [1]


def test_provenance():
    found = provenance()
    json.dumps(found)
    assert found["versions"]["torch"] == torch.__version__ and found["machine"]["cores"] == os.cpu_count()
    assert found["machine"]["processor"] and found["machine"]["system"]
    assert found["python"] == ".".join(map(str, sys.version_info[:3])) and found["threads"] == torch.get_num_threads()
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", found["date"])


def test_provenance_names_the_commit():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("not a git checkout")
    assert head.stdout.startswith(provenance()["commit"])


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance()["commit"] is None


def test_missing_and_damaged_records(tmp_path):
    path = tmp_path / "record.json"
    assert_one_line_error(
        lambda: read_json(path), "record.json", "python -m lttlib.experiments", error=FileNotFoundError
    )
    path.write_text('{"runs": [')
    assert_one_line_error(lambda: read_json(path), "record.json", "not valid JSON", "run its experiment again")
