"""The most memory of a part of the work."""

import sys

import pytest

from kib.support.peak_memory import peak

MB = 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the most of the process so far is told")
def test_a_part_is_measured_by_itself():
    """A part that follows a larger one has its own most, and one that holds smaller parts has theirs at least."""
    with peak() as whole:
        with peak() as large:
            held = bytearray(200 * MB)
        del held
        with peak() as small:
            held = bytearray(20 * MB)
    assert large.bytes > small.bytes + 150 * MB
    assert whole.bytes >= large.bytes
    del held


def test_a_part_that_fails_is_measured_too():
    """A part that ends by an error leaves the parts around it as they were."""
    with peak() as whole:
        with pytest.raises(LookupError), peak() as part:
            raise LookupError
        assert part.bytes > 0
    with peak() as other:
        pass
    assert whole.bytes > 0
    assert other.bytes > 0
