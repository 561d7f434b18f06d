"""A working plugin with a name that a different distribution also uses."""

from kib.interfaces import Options as BaseOptions
from kib.records import Document


class Shelf:
    class Options(BaseOptions):
        pass

    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def documents(self):
        yield Document("0", "", "text")
