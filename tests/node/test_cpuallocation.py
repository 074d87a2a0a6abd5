"""CPUs are given whole cores first, from few cells, to one VM at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvtui.domainxml import HostCell
from kvtui.errors import InvalidObject
from kvtui.node import cpusets
from kvtui.node.cpuallocation import NotEnoughCpus, allocate, pool


def host(cells: int, cores: int, threads: int) -> tuple[HostCell, ...]:
    """Numbered as x86 does it: the first threads of all cores, then their siblings."""
    count = cells * cores
    return tuple(
        HostCell(
            n, tuple(tuple(core + count * t for t in range(threads)) for core in range(n * cores, (n + 1) * cores))
        )
        for n in range(cells)
    )


HOSTS = st.builds(host, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))


def everything(cells: Sequence[HostCell]) -> frozenset[int]:
    return pool(cells).all


@given(HOSTS, st.data())
def test_exactly_as_many_free_cpus_are_given_as_were_asked_for(
    cells: tuple[HostCell, ...], data: st.DataObject
) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(everything(cells)))))
    count = data.draw(st.integers(0, len(free)))
    found = allocate(cells, free, count)
    assert len(found) == count
    assert found <= free


@given(HOSTS, st.data())
def test_more_than_there_are_is_refused(cells: tuple[HostCell, ...], data: st.DataObject) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(everything(cells)))))
    with pytest.raises(NotEnoughCpus):
        allocate(cells, free, len(free) + 1)


@given(HOSTS, st.data())
def test_one_cell_is_enough_where_one_has_room(cells: tuple[HostCell, ...], data: st.DataObject) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(everything(cells)))))
    count = data.draw(st.integers(0, len(free)))
    homes = [{t for core in cell.cores for t in core} for cell in cells]
    found = allocate(cells, free, count)
    if count and any(len(home & free) >= count for home in homes):
        assert sum(bool(home & found) for home in homes) == 1


@given(HOSTS, st.data())
def test_at_most_one_whole_core_is_broken_and_none_while_loose_threads_do(
    cells: tuple[HostCell, ...], data: st.DataObject
) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(everything(cells)))))
    count = data.draw(st.integers(0, len(free)))
    found = allocate(cells, free, count)
    broken = 0
    for cell in cells:
        whole = [core for core in cell.cores if set(core) <= free]
        loose = {t for core in cell.cores if core not in whole for t in core} & free
        cut = [core for core in whole if 0 < len(found & set(core)) < len(core)]
        broken += len(cut)
        if cut:
            assert loose <= found
    assert broken <= 1


def test_the_tightest_cell_is_filled_first() -> None:
    cells = host(2, 4, 1)
    assert allocate(cells, {0, 1, 2, 3, 6, 7}, 2) == {6, 7}
    assert allocate(cells, {0, 1, 2, 3, 6, 7}, 3) == {0, 1, 2}
    assert allocate(cells, {0, 1, 2, 3, 6, 7}, 5) == {0, 1, 2, 3, 6}


def test_whole_cores_come_before_loose_threads() -> None:
    cells = host(1, 3, 2)  # siblings 0-3, 1-4, 2-5
    assert allocate(cells, {1, 2, 3, 4, 5}, 2) == {1, 4}
    assert allocate(cells, {1, 2, 3, 4, 5}, 3) == {1, 4, 3}
    assert allocate(cells, {1, 2, 3, 4, 5}, 1) == {3}


def test_the_host_keeps_its_first_core_unless_it_is_told_otherwise() -> None:
    cells = host(2, 2, 2)
    assert pool(cells).exclusive == {1, 2, 3, 5, 6, 7}
    assert pool(cells, {3, 7}).exclusive == {0, 1, 2, 4, 5, 6}
    assert pool(cells, {99}).reserved == {0, 4}
    assert pool(cells, everything(cells)).exclusive == frozenset()
    assert pool(host(1, 1, 1)).exclusive == frozenset()
    assert pool(()).all == frozenset()


class Node(RuleBasedStateMachine):
    """VMs come and go, and an agent is restarted: nobody's CPUs are another's, and none gets lost."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool(host(2, 3, 2))
        self.given: dict[int, frozenset[int]] = {}
        self.next = 0

    @property
    def free(self) -> frozenset[int]:
        return self.pool.exclusive - frozenset(c for cpus in self.given.values() for c in cpus)

    @rule(count=st.integers(1, 12))
    def admit(self, count: int) -> None:
        if count > len(self.free):
            with pytest.raises(NotEnoughCpus):
                allocate(self.pool.cells, self.free, count)
            return
        self.given[self.next] = allocate(self.pool.cells, self.free, count)
        self.next += 1

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        del self.given[data.draw(st.sampled_from(sorted(self.given)))]

    @rule()
    def restart(self) -> None:
        written = {uid: cpusets.format_list(cpus) for uid, cpus in self.given.items()}
        self.given = {uid: cpusets.parse(text) for uid, text in written.items()}

    @invariant()
    def nothing_is_doubled_or_lost(self) -> None:
        parts = [*self.given.values(), self.free]
        assert sum(map(len, parts)) == len(self.pool.exclusive)
        assert frozenset().union(*parts) == self.pool.exclusive
        assert self.pool.reserved.isdisjoint(self.pool.exclusive)


TestNode = Node.TestCase


@given(st.frozensets(st.integers(0, cpusets.MAX_CPU)))
def test_lists_of_cpus_are_read_as_they_are_written(cpus: frozenset[int]) -> None:
    assert cpusets.parse(cpusets.format_list(cpus)) == cpus


@pytest.mark.parametrize(("text", "cpus"), [("", set()), ("0", {0}), (" 1-3, 8 ", {1, 2, 3, 8}), ("0-3,^2", {0, 1, 3})])
def test_lists_are_read_as_the_kernel_and_libvirt_write_them(text: str, cpus: set[int]) -> None:
    assert cpusets.parse(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0,x", "99999", "1-2-3", "٣"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidObject, match="is no list of CPUs"):
        cpusets.parse(text)
