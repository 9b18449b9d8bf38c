"""What holds of every kind of value there is: the kinds of all rows of the directive tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.unit.diagnostics import Invalid
from sockact.unit.directives.service import ServiceSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import UnitSection
from sockact.unit.values import RESET, Kind
from tests.fakes import context

SECTIONS = (UnitSection, SocketSection, ServiceSection, SockactSection)
KINDS = list({id(row.kind): row.kind for section in SECTIONS for _, row in section.rows()}.values())
LONG = (
    *("9" * 5000, "0x" + "f" * 5000, "9" * 5000 + "s", "9" * 5000 + "ns", "9." * 2500),
    *("-" * 5000, "a:" * 2000, "a." * 2000, "/" * 5000),
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=100, deadline=None)
@given(text=st.text("0123456789abkKxX.,:/%@-+~=;'\"\\[]{}$ \té", max_size=12) | st.text(max_size=6) | st.sampled_from(LONG))
def test_no_kind_of_value_ever_raises(kind: Kind, text: str) -> None:
    found = kind.read(text, context().replace(variables={"A": "1"}))
    if isinstance(found, Invalid):
        assert found.message
        assert found.start >= 0
    elif found is not RESET:
        kind.show(found)
        if kind.extends:
            kind.extends(text, found)
