"""Data sets as the library `datasets` reads them."""
