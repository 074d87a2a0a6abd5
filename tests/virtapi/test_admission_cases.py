"""Admission answers as upstream's does, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.virtapi.cases import CASES, admission_of, ask, differences, load, request_of

ALL = load(CASES)


@pytest.mark.skipif(not ALL, reason=f"no admission cases in {CASES}; set KVTUI_ADMISSION_CASES")
def test_cases_are_found() -> None:
    assert len({case["name"] for case in ALL}) == len(ALL)


@pytest.mark.parametrize("case", ALL, ids=[case["name"] for case in ALL])
async def test_answers_as_upstream(case: dict[str, Any]) -> None:
    answer = await ask(admission_of(case), request_of(case))
    found = differences(case, answer, case["expect"])
    if found and "differsLater" in case:
        found = differences(case, answer, case["differsLater"])
    assert not found, "\n".join(found)
