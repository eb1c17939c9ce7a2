"""The report of a file of proofs, written when its last test is done; --dist loadfile keeps a file in one worker."""

import pytest
from proof import write_report


@pytest.fixture(scope="module")
def told(request):
    """List of (answer, verdict), filled by the tests of the module."""
    found = []
    yield found
    write_report(request.module.__name__.removeprefix("test_").removesuffix("_checks"), found)
