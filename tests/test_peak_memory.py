"""Measurement of peak memory per step."""

import sys

import pytest

from kib.support.peak_memory import peak

MB = 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report only the peak of the whole process")
def test_peak_memory_is_measured_per_step():
    """The peak memory of a step is independent of earlier steps and at least as high as that of its inner steps."""
    with peak() as whole:
        with peak() as large:
            held = bytearray(200 * MB)
        del held
        with peak() as small:
            held = bytearray(20 * MB)
    assert large.bytes > small.bytes + 150 * MB
    assert whole.bytes >= large.bytes
    del held


def test_a_failed_inner_step_does_not_affect_the_outer_step():
    """A failure of an inner step does not affect the outer step's memory measurement."""
    with peak() as whole:
        with pytest.raises(LookupError), peak() as part:
            raise LookupError
        assert part.bytes > 0
    with peak() as other:
        pass
    assert whole.bytes > 0
    assert other.bytes > 0
