"""Templates become pages. Every value is escaped, and a name that a template does not get is an error."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from postern.console import charts, words

TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment() -> Environment:
    """The templates, with the words and forms that all pages share as filters."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": words.duration,
        "count": words.count,
        "iso": words.iso,
        "moment": words.moment,
        "clock": words.clock,
        "state": charts.state,
    }
    made.globals["sprite"] = charts.sprite()
    return made


def render(template: str, values: Mapping[str, Any]) -> bytes:
    """The page of a template, in UTF-8."""
    return environment().get_template(template).render(values).encode()
