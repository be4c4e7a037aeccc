"""Plain values and typed values survive their text."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from actorflow.actors.values import from_payload, to_payload

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=12,
)


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Order:
    item: str
    size: Size
    id: UUID
    price: Decimal
    when: datetime
    parts: list["Order"]


orders = st.recursive(
    st.builds(
        Order,
        item=texts,
        price=st.decimals(allow_nan=False, allow_infinity=False),
        when=st.datetimes(timezones=st.just(UTC)),
        parts=st.just([]),
    ),
    lambda inner: st.builds(
        Order,
        item=texts,
        price=st.decimals(allow_nan=False, allow_infinity=False),
        when=st.datetimes(timezones=st.just(UTC)),
        parts=st.lists(inner, max_size=3),
    ),
    max_leaves=4,
)


@given(plain)
def test_plain_values_survive(value: object) -> None:
    assert from_payload(to_payload(value), None) == value


@given(orders)
def test_typed_values_survive(order: Order) -> None:
    assert from_payload(to_payload(order), Order) == order
