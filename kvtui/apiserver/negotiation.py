"""Accept headers: in which form a client wants its answer.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from kvtui.apiserver import status


class Form(Enum):
    """What an object looks like on the wire."""

    FULL = auto()
    TABLE = auto()
    PARTIAL = auto()
    PARTIAL_LIST = auto()


@dataclass(frozen=True, slots=True)
class Clause:
    """One alternative of an Accept header."""

    type: str
    parameters: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((v for k, v in self.parameters if k == name), "")


@lru_cache(maxsize=512)
def clauses(accept: str) -> tuple[Clause, ...]:
    """The alternatives, best first."""
    found: list[tuple[float, int, Clause]] = []
    for position, text in enumerate(accept.split(",")):
        kind, *rest = (part.strip() for part in text.split(";"))
        if not kind:
            continue
        quality = 1.0
        parameters: list[tuple[str, str]] = []
        for part in rest:
            key, _, value = part.partition("=")
            key, value = key.strip().lower(), value.strip().strip('"')
            if key == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
            else:
                parameters.append((key, value))
        found.append((-quality, position, Clause(kind.lower(), tuple(parameters))))
    found.sort(key=lambda f: f[:2])
    return tuple(clause for quality, _, clause in found if quality < 0)


_FORMS = {"Table": Form.TABLE, "PartialObjectMetadata": Form.PARTIAL, "PartialObjectMetadataList": Form.PARTIAL_LIST}
_JSON = ("application/json", "application/*", "*/*")
YAML = "application/yaml"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The negotiated form of an answer."""

    form: Form
    yaml: bool = False
    table_version: str = "meta.k8s.io/v1"


@lru_cache(maxsize=512)
def negotiate(accept: str) -> Wanted:
    """The first alternative that the server can give. Raises Failure 406."""
    if not accept:
        return Wanted(Form.FULL)
    for clause in clauses(accept):
        if clause.type == YAML and not clause.get("as"):
            return Wanted(Form.FULL, yaml=True)
        if clause.type not in _JSON or clause.get("stream"):
            continue
        wanted = clause.get("as")
        if not wanted:
            return Wanted(Form.FULL)
        form = _FORMS.get(wanted)
        version = clause.get("v")
        if form is None or clause.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
            continue
        return Wanted(form, table_version=f"meta.k8s.io/{version}")
    raise status.not_acceptable()
