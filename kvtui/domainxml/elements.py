"""XML elements from values: escaping is the serializer's, and nothing here formats markup by hand.

Source: https://www.w3.org/TR/xml/#charsets for the characters that no XML document may hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Element = ElementTree.Element

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
"""Namespace of the qemu:commandline element."""

ElementTree.register_namespace("qemu", QEMU)

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPEC = "spec"


def element(tag: str, *content: Element | str | int | None, **attributes: str | int | None) -> Element:
    """An element with children or a text; attributes that are None are left out."""
    made = ElementTree.Element(tag, {k: str(v) for k, v in attributes.items() if v is not None})
    for item in content:
        if isinstance(item, ElementTree.Element):
            made.append(item)
        elif item is not None:
            made.text = str(item)
    return made


def group(tag: str, children: Iterable[Element], **attributes: str | int | None) -> Element:
    """An element that holds these children."""
    return element(tag, *children, **attributes)


def on_off(value: bool | None, *, default: bool = True) -> str:
    return "on" if (default if value is None else value) else "off"


def yes_no(value: bool | None, *, default: bool = True) -> str:
    return "yes" if (default if value is None else value) else "no"


def state(tag: str, value: bool | None, *content: Element) -> Element:
    """<tag state="on|off">; an unset flag counts as on."""
    return element(tag, *content, state=on_off(value))


def alias(name: str) -> Element:
    """The user alias by which a device is found again, whatever its address."""
    return element("alias", name=f"ua-{name}")


def child(parent: Element, tag: str) -> Element:
    """The first child with this tag, made if it is missing."""
    found = parent.find(tag)
    return ElementTree.SubElement(parent, tag) if found is None else found


def drop(parent: Element, tag: str) -> None:
    """Removes every child with this tag."""
    for found in parent.findall(tag):
        parent.remove(found)


def replace(parent: Element, new: Element) -> None:
    """Puts the element where its namesake was, or at the end."""
    for index, old in enumerate(parent):
        if old.tag == new.tag:
            parent[index] = new
            return
    parent.append(new)


def checked(root: Element) -> Element:
    """The same element. Raises ConversionError if it holds a character that XML cannot carry."""
    for path, text in _texts(root, root.tag):
        if _FORBIDDEN.search(text):
            raise ConversionError(f"{path} holds a character that XML does not allow: {text[:80]!r}", field=_SPEC)
    return root


def to_text(root: Element) -> str:
    """The document as libvirt takes it."""
    return ElementTree.tostring(root, encoding="unicode")


def pretty(root: Element) -> str:
    """The document for people, two spaces per level. Indents a copy."""
    copy = ElementTree.fromstring(to_text(root))  # noqa: S314 - our own document, no outside input
    ElementTree.indent(copy)
    return ElementTree.tostring(copy, encoding="unicode") + "\n"


def _texts(node: Element, path: str) -> Iterator[tuple[str, str]]:
    for key, value in node.attrib.items():
        yield f"{path}@{key}", value
    if node.text:
        yield path, node.text
    for below in node:
        yield from _texts(below, f"{path}/{below.tag}")
