"""Guest clock: spec.domain.clock and the scheduler's TSC hint -> <clock>.

Source: https://libvirt.org/formatdomain.html#time-keeping
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group, yes_no

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import Clock
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    clock = guest.domain.clock
    tsc = _tsc(guest)
    if clock is None and not tsc:
        return []
    attributes, timers = (_offset(clock), _timers(clock)) if clock else ({}, [])
    return [group("clock", timers + tsc, **attributes)]


def _offset(clock: Clock) -> dict[str, str | int | None]:
    if clock.utc is not None:
        seconds = clock.utc.offset_seconds
        return {"offset": "utc", "adjustment": "reset" if seconds is None else seconds}
    if clock.timezone is not None:
        return {"offset": "timezone", "timezone": clock.timezone}
    return {}


def _timers(clock: Clock) -> list[Element]:
    timer = clock.timer
    if timer is None:
        return []
    parts = []
    if rtc := timer.rtc:
        parts.append(_timer("rtc", rtc.present, tickpolicy=rtc.tick_policy or None, track=rtc.track or None))
    if pit := timer.pit:
        parts.append(_timer("pit", pit.present, tickpolicy=pit.tick_policy or None))
    if kvm := timer.kvm:
        parts.append(_timer("kvmclock", kvm.present))
    if hpet := timer.hpet:
        parts.append(_timer("hpet", hpet.present, tickpolicy=hpet.tick_policy or None))
    if hyperv := timer.hyperv:
        parts.append(_timer("hypervclock", hyperv.present))
    return parts


def _timer(name: str, present: bool | None, **attributes: str | None) -> Element:
    return element("timer", name=name, present=yes_no(present), **attributes)


def _tsc(guest: Guest) -> list[Element]:
    """A fixed TSC frequency, for guests that rely on it and were given one by the scheduler."""
    hints = guest.status.topology_hints
    hertz = (hints.tsc_frequency if hints else None) or 0
    if hertz <= 0 or not (_has_invtsc(guest) or _has_reenlightenment(guest)):
        return []
    return [element("timer", name="tsc", frequency=hertz)]


def _has_invtsc(guest: Guest) -> bool:
    features = guest.cpu.features if guest.cpu else ()
    return any(f.name == "invtsc" and f.policy in ("require", "force") for f in features)


def _has_reenlightenment(guest: Guest) -> bool:
    hyperv = guest.features.hyperv if guest.features else None
    return bool(hyperv and hyperv.reenlightenment and hyperv.reenlightenment.enabled)
