"""Results that name a distribution by a former name are read as those of the present one."""

from kib.store.folders import _environment, _sources


def test_environment_uses_present_names():
    """A recorded environment that names `kib` equals one that names `kib-bench`."""
    former = _environment({"device": "cpu", "packages": {"kib": "0.1.0", "torch": "2.13.0"}})
    present = _environment({"device": "cpu", "packages": {"kib-bench": "0.1.0", "torch": "2.13.0"}})
    assert former == present


def test_sources_use_present_names():
    """A recorded plugin of the distribution `kib-huggingface` is read as one of `kib-datasets`."""
    assert _sources({"corpora": {"wiki": {"distribution": "kib-huggingface", "version": "0.1.0"}}}) == {
        "corpora": {"wiki": {"distribution": "kib-datasets", "version": "0.1.0"}}
    }
