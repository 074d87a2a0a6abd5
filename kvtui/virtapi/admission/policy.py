"""Migration policies.

Source: control plane facts 5.9; kubevirt pkg/virt-api/webhooks/validating-webhook/admitters (migration policy).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.admission.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.migration import MigrationPolicy, MigrationPolicySpec
    from kvtui.api.kubevirt.vmi import StallDetectorOptions
    from kvtui.api.wire import Quantity
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

STALL, TUNING = "MigrationStallDetection", "MigrationDowntimeTuning"
FIELD = Path("spec")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def validate(policy: MigrationPolicy, old: MigrationPolicy | None, config: ClusterConfig) -> list[Cause]:
    """`old` is None on create."""
    return list(_findings(policy.spec, old.spec if old is not None else None, config))


def _findings(spec: MigrationPolicySpec, old: MigrationPolicySpec | None, config: ClusterConfig) -> Iterator[Cause]:
    if spec.completion_timeout_per_gi_b is not None and spec.completion_timeout_per_gi_b < 0:
        yield invalid("must not be negative", FIELD.child("completionTimeoutPerGiB"))
    before = old.max_downtime_ms if old is not None else None
    gated = config.gate(STALL) or config.gate(TUNING)
    if spec.max_downtime_ms is not None and spec.max_downtime_ms != before and not gated:
        message = f"maxDowntimeMs cannot be modified without enabling the {STALL} feature gate"
        yield invalid(message, FIELD.child("maxDowntimeMs"))
    yield from _experimental(spec, old, config)
    if amounts.exact(spec.bandwidth_per_migration) < 0:
        yield invalid("must not be negative", FIELD.child("bandwidthPerMigration"))


def _experimental(spec: MigrationPolicySpec, old: MigrationPolicySpec | None, config: ClusterConfig) -> Iterator[Cause]:
    options, field = spec.experimental, FIELD.child("experimental")
    before = old.experimental if old is not None else None
    if options is None:
        return
    tuning, detector = options.downtime_tuning, options.stall_detector
    if tuning is not None and tuning != (before.downtime_tuning if before else None) and not config.gate(TUNING):
        message = f"experimental.downtimeTuning cannot be modified without enabling the {TUNING} feature gate"
        yield invalid(message, field.child("downtimeTuning"))
    if detector is None:
        return
    if detector != (before.stall_detector if before else None) and not config.gate(STALL):
        message = f"experimental.stallDetector cannot be modified without enabling the {STALL} feature gate"
        yield invalid(message, field.child("stallDetector"))
    yield from _factors(detector, field.child("stallDetector"))
    if tuning is not None:
        message = "experimental.stallDetector and experimental.downtimeTuning are mutually exclusive"
        yield invalid(message, field)


def _factors(detector: StallDetectorOptions, field: Path) -> Iterator[Cause]:
    yield from _factor(detector.ewma_alpha, field.child("ewmaAlpha"), 0, 1, positive=True)
    yield from _factor(detector.precopy_possible_factor, field.child("precopyPossibleFactor"), 1, None)
    yield from _factor(detector.patience_window_decay_factor, field.child("patienceWindowDecayFactor"), 0, 1)
    yield from _factor(detector.completion_timeout_factor, field.child("completionTimeoutFactor"), 1, None)


def _factor(
    value: Quantity | None, field: Path, least: int, most: int | None, *, positive: bool = False
) -> Iterator[Cause]:
    """Factors are decimal numbers in text."""
    if value is None:
        return
    text = str(value)
    if not _NUMBER.fullmatch(text):
        shown = quoted(text)
        yield invalid(f"invalid factor {shown}: strconv.ParseFloat: parsing {shown}: invalid syntax", field)
        return
    factor = float(text)
    if positive and factor <= 0:
        yield invalid("must be greater than 0", field)
    elif factor < least:
        yield invalid(f"must be greater than or equal to {least}", field)
    elif most is not None and factor > most:
        yield invalid(f"must be less than or equal to {most}", field)
