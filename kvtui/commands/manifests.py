"""Manifests from files, directories, URLs of none, and standard input.

YAML is read with duplicate keys refused, because the last of two silently winning is how VMs lose their disks.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from kvtui.errors import Usage

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 32 * 2**20


class Loader(yaml.SafeLoader):
    """Safe, and strict about duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# Timestamps stay text, as everywhere in the API.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(names: Iterable[str], *, recursive: bool = False) -> list[dict[str, Any]]:
    """All objects of these files (`-` is standard input), lists taken apart. Raises Usage with file and line."""
    found: list[dict[str, Any]] = []
    for name, text in _texts(names, recursive=recursive):
        try:
            documents = list(yaml.load_all(text, Loader=Loader))  # derived from SafeLoader
        except (yaml.YAMLError, RecursionError) as error:
            raise Usage(f"{name} cannot be read: {' '.join(str(error).split())}") from error
        for document in documents:
            if document is not None:
                found += _objects(document, name)
    if not found:
        raise Usage("no objects passed", hint="name a manifest with -f FILE")
    return found


def _texts(names: Iterable[str], *, recursive: bool) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == "-":
            yield "standard input", sys.stdin.read()
            continue
        path = Path(name)
        if path.is_dir():
            listed = sorted(path.rglob("*") if recursive else path.iterdir())
            files = [file for file in listed if file.suffix in _SUFFIXES and file.is_file()]
        else:
            files = [path]
        for file in files:
            try:
                if file.stat().st_size > _MAX_BYTES:
                    raise Usage(f"{file} is larger than {_MAX_BYTES // 2**20} MiB")
                yield str(file), file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                words = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise Usage(f"{file} cannot be read: {words}") from error


def _objects(document: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(document, dict):
        raise Usage(f"{name} holds something that is no object")
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        return [obj for item in document["items"] for obj in _objects(item, name)]
    meta = document.get("metadata")
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str):
            raise Usage(f"{name}: an object has no {key}")
    if not isinstance(meta, dict) or not (meta.get("name") or meta.get("generateName")):
        raise Usage(f"{name}: a {document['kind']} has no metadata.name")
    return [document]
