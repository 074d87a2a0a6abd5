"""Our converter against what upstream's was seen to make of the same VMIs."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from kvtui.domainxml import ConversionError, convert

from . import cases


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases.load()] or [None])
def test_a_vmi_becomes_the_domain_that_upstream_makes(case: cases.Case | None) -> None:
    if case is None:
        pytest.skip(f"no cases in {cases.CASES}; set KVTUI_DOMAIN_CASES to a directory of *.jsonl files")
    if case.error:
        with pytest.raises(ConversionError) as refusal:
            convert(case.vmi, case.context)
        assert cases.comparable(str(refusal.value)) == cases.comparable(case.error)
        assert refusal.value.field
        return
    differences = [
        cases.difference(convert(case.vmi, case.context), ElementTree.fromstring(accepted)) for accepted in case.domains
    ]
    assert "" in differences, differences


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        ("<domain><cpu mode='m'><a/><b x='1'/></cpu></domain>", True),
        ("<domain><cpu mode='m'><b x='1'/><a/></cpu><features/><metadata><kubevirt/></metadata></domain>", True),
        ("<domain><cpu mode='m'><b x='1'/></cpu></domain>", False),
        ("<domain><cpu mode='n'><a/><b x='1'/></cpu></domain>", False),
        ("<domain><cpu mode='m'><a/><b x='2'/></cpu></domain>", False),
        ("<domain><cpu mode='m'><a>t</a><b x='1'/></cpu></domain>", False),
        ("<domain><cpu mode='m'><a/><b x='1'/><b x='1'/></cpu></domain>", False),
        ("<domain><cpu mode='m'><a/><b x='1'/></cpu><metadata><other/></metadata></domain>", False),
    ],
)
def test_the_comparison_sees_what_matters_and_only_that(theirs: str, same: bool) -> None:
    ours = ElementTree.fromstring("<domain><cpu mode='m'><a/><b x='1'/></cpu></domain>")
    assert (cases.difference(ours, ElementTree.fromstring(theirs)) == "") is same
