"""Resource use as a kubelet tells it: /metrics/resource for the node and for each launcher. Pure but for /proc.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/ (kubelet resource metrics)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICKS = 100
"""Jiffies per second in /proc/stat."""


@dataclass(frozen=True, slots=True)
class Use:
    """Of one container: CPU seconds since its start, resident bytes."""

    namespace: str
    pod: str
    container: str
    cpu: float
    memory: int


def node_use(stat: str, meminfo: str) -> tuple[float, int]:
    """CPU seconds since boot and bytes in use, from /proc/stat and /proc/meminfo."""
    fields = [int(f) for f in stat.split("\n", 1)[0].split()[1:]]
    busy = sum(fields[:8]) - fields[3] - fields[4]
    rows = {line.partition(":")[0]: line.partition(":")[2] for line in meminfo.splitlines()}
    used = int(rows["MemTotal"].split()[0]) - int(rows["MemAvailable"].split()[0])
    return busy / CLOCK_TICKS, used * 1024


def read_node() -> tuple[float, int]:
    return node_use(Path("/proc/stat").read_text(), Path("/proc/meminfo").read_text())


def of_domain(stats: Mapping[str, object]) -> tuple[float, int]:
    """CPU seconds and resident bytes of a domain."""
    cpu, rss = stats.get("cpu.time", 0), stats.get("balloon.rss", 0)
    return int(str(cpu)) / 1e9, int(str(rss)) * 1024


def render(node: tuple[float, int], uses: Iterable[Use]) -> str:
    """The text that scrapers read."""
    cpu, memory = node
    lines = [
        "# TYPE node_cpu_usage_seconds_total counter",
        f"node_cpu_usage_seconds_total {cpu:.6f}",
        "# TYPE node_memory_working_set_bytes gauge",
        f"node_memory_working_set_bytes {memory}",
    ]
    rows = list(uses)
    for name, kind in (
        ("container_cpu_usage_seconds_total", "counter"),
        ("container_memory_working_set_bytes", "gauge"),
    ):
        lines.append(f"# TYPE {name} {kind}")
        for use in rows:
            value = f"{use.cpu:.6f}" if "cpu" in name else str(use.memory)
            labels = f'container="{use.container}",namespace="{use.namespace}",pod="{use.pod}"'
            lines.append(f"{name}{{{labels}}} {value}")
    for name, kind in (("pod_cpu_usage_seconds_total", "counter"), ("pod_memory_working_set_bytes", "gauge")):
        lines.append(f"# TYPE {name} {kind}")
        for use in rows:
            value = f"{use.cpu:.6f}" if "cpu" in name else str(use.memory)
            lines.append(f'{name}{{namespace="{use.namespace}",pod="{use.pod}"}} {value}')
    return "\n".join(lines) + "\n"
