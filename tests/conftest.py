"""The order of a whole run: tests that need only processors first, side by side; guests last, one at a time.

With `pytest -n 2 --dist loadgroup --no-loadscope-reorder` all tests with guests go to one worker, after the others:
two at a time starve each other on a small machine. The marks have to be there before pytest-xdist looks for them.
"""

from __future__ import annotations

import pytest

_SERIAL = ("e2e", "engine", "soak", "bench")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _needs_guests(item):
            item.add_marker(pytest.mark.xdist_group("guests"))
    items.sort(key=_needs_guests)


def _needs_guests(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) is not None for name in _SERIAL)
