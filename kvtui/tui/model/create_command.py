"""A drafted VM as the `kvtui create vm` command that makes it, for people who go on in a script."""

from __future__ import annotations

import base64
import shlex

from kvtui.tui.model.create import IMPORTS, VmDraft

_TYPES = {"http": "http", "registry": "registry", "blank": "blank", "clone": "pvc"}


def command(draft: VmDraft, lab_image: str = "") -> str:
    """A line for a shell; the password is left out. Empty when the command has no flags for what is drafted."""
    if draft.labels or draft.attachments or draft.node or draft.eviction or draft.network == "none":
        return ""
    ports = [word.partition("/") for word in draft.ports.replace(",", " ").split()]
    root = _root(draft, lab_image)
    if not root or any(protocol.lower() not in ("", "tcp") for _, _, protocol in ports):
        return ""
    words = ["kvtui", "create", "vm", "--name", draft.name, "-n", draft.namespace, *root]
    if draft.extra_disk:
        words += ["--volume-import", _import(draft, "blank", draft.extra_disk, f"{draft.name}-data")]
    if draft.instancetype:
        words += ["--instancetype", draft.instancetype]
    else:
        words += ["--cpu", draft.cpu, "--memory", draft.memory]
    if draft.user_data:
        words += ["--cloud-init-user-data", base64.b64encode(draft.user_data.encode()).decode()]
    else:
        words += [word for flag in ("user", "ssh_key") for word in _flag(flag, getattr(draft, flag).strip())]
    words += [word for number, _, _ in ports for word in ("--port", number)]
    halted = draft.after == "create" and draft.run_strategy == "Always"
    words += _flag("run-strategy", "Halted" if halted else draft.run_strategy)
    return shlex.join([*words, "--apply"])


def in_lines(text: str, width: int) -> list[str]:
    """A command over several lines, broken between flags, which a shell takes as one."""
    parts: list[list[str]] = []
    for word in shlex.split(text):
        if word.startswith("-") or not parts:
            parts.append([word])
        else:
            parts[-1].append(word)
    lines: list[str] = []
    for part in map(shlex.join, parts):
        if lines and len(lines[-1]) + 1 + len(part) <= width - 2:
            lines[-1] += f" {part}"
        else:
            lines.append(f"  {part}" if lines else part)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _flag(name: str, value: str) -> list[str]:
    return [f"--{name.replace('_', '-')}", value] if value else []


def _root(draft: VmDraft, lab_image: str) -> list[str]:
    """The flag of the first disk. Empty when a comma would end it early."""
    image = draft.image.strip()
    source = draft.source
    if source == "lab":
        image, source = lab_image, "http" if lab_image.startswith(("http://", "https://")) else "containerDisk"
    if "," in image:
        return []
    if source == "containerDisk":
        return ["--volume-containerdisk", f"src:{image.removeprefix('docker://')},name:root"]
    if source not in IMPORTS:
        return ["--volume-pvc", f"src:{image},name:root"]
    if source == "registry" and "://" not in image:
        image = f"docker://{image}"
    more = {"blank": "", "clone": f",src:{image}"}.get(source, f",url:{image}")
    checksum = f",checksum:{draft.checksum}" if draft.checksum and source == "http" else ""
    made = _import(draft, _TYPES[source], draft.disk_size, f"{draft.name}-root")
    return ["--volume-import", f"{made}{more}{checksum}"]


def _import(draft: VmDraft, kind: str, size: str, name: str) -> str:
    words = [f"type:{kind}", f"size:{size}", f"name:{name}"]
    if draft.storage_class:
        words.append(f"storageclass:{draft.storage_class}")
    if draft.access:
        words.append(f"accessmode:{draft.access}")
    return ",".join(words)
