"""A plugin module with a failing import."""

import a_package_that_nobody_has  # noqa: F401


class Torn:
    pass
