"""Moved modules can still be imported under their former names."""

import importlib
import sys

import pytest

from kib.moved_modules import MOVED


@pytest.mark.parametrize("former", MOVED)
def test_former_module_names_can_be_imported(former):
    """Importing a module by its former name returns the moved module and warns with the current name."""
    sys.modules.pop(former, None)
    with pytest.warns(DeprecationWarning, match=f"{former} is now {MOVED[former]}"):
        module = importlib.import_module(former)
    assert module is importlib.import_module(MOVED[former])
    assert module.__spec__.name == MOVED[former]


@pytest.mark.parametrize(
    ("module", "former", "present"),
    [("kib.interfaces", "Local", "NotInIdentity"), ("kib.spec.options", "counting", "identity_options")],
)
def test_renamed_classes_keep_their_former_name(module, former, present):
    """A renamed class or function of the plugin interface remains available under its former name, with a warning."""
    home = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=present):
        assert getattr(home, former) is getattr(home, present)
