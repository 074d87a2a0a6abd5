"""Makes `import aiohttp` cheap: it reads all the system's certificates for a context that no command uses.

Every connection of a command has a context of its own, out of a kubeconfig or a flag.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextlib.contextmanager
def no_certificates() -> Iterator[None]:
    """OpenSSL's default places are nowhere: an import of aiohttp in here costs some 60 ms less."""
    before = {name: os.environ.get(name) for name in _NAMES}
    os.environ.update(dict.fromkeys(_NAMES, "/nonexistent"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def import_aiohttp() -> None:
    """Imports it so; a quarter of a verb's start is saved."""
    if "aiohttp" in sys.modules:
        return
    with no_certificates():
        import aiohttp  # noqa: F401
