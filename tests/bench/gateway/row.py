"""One row of the table: its bound, and what was measured."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.gateway.site import Site


@dataclass(frozen=True, slots=True)
class Row:
    """`held`: whether what was measured is within the bound."""

    name: str
    bound: str
    measured: str
    held: bool


Measure = Callable[[Site], list[Row]]
"""Measures one or more rows. Its docstring says how."""


def at_most(name: str, bound: float, measured: float, unit: str, more: str = "") -> Row:
    """A row whose number must not be larger than the bound."""
    return Row(name, f"≤ {bound:g} {unit}", f"{measured:.2f} {unit}{more}", measured <= bound)


def at_least(name: str, bound: float, measured: float, unit: str, more: str = "") -> Row:
    """A row whose number must not be smaller than the bound."""
    return Row(name, f"≥ {bound:g} {unit}", f"{measured:.1f} {unit}{more}", measured >= bound)
