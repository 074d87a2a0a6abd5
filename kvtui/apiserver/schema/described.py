"""Descriptions of built-in types for `kubectl explain`: the docstrings and field texts of our own classes.

Types for which kvtui has no class stay without words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kvtui.api import meta
from kvtui.api.core import config, node, parts, pod, storage
from kvtui.api.schemas import field_texts, first_words
from kvtui.api.wire import Wire


@dataclass(frozen=True, slots=True)
class Described:
    """What a type and its fields are for."""

    text: str
    fields: dict[str, str]


_RENAMED = {
    "PodVolume": "Volume",
    "ContainerResources": "ResourceRequirements",
    "StateWaiting": "ContainerStateWaiting",
    "StateRunning": "ContainerStateRunning",
    "StateTerminated": "ContainerStateTerminated",
    "ClaimVolumeSource": "PersistentVolumeClaimVolumeSource",
}


@cache
def _all() -> dict[str, Described]:
    found: dict[str, Described] = {}
    for module in (parts, pod, node, storage, config, meta):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Wire) and value.__module__ == module.__name__:
                found.setdefault(_RENAMED.get(name, name), Described(first_words(value), field_texts(value)))
    return found


def descriptions(name: str) -> Described | None:
    """Words for the type of this bare name, such as Pod."""
    return _all().get(name)
