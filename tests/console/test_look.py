"""The stylesheet, the scripts and the templates: what the pages' policy allows, and colours that can be read."""

import base64
import json
import re
from hashlib import sha384
from pathlib import Path

import pytest

from postern.console import render
from tests.table import table

ASSETS = Path(render.__file__).with_name("assets")
STYLES = (ASSETS / "console.css").read_text("utf-8")
TEMPLATES = sorted(render.TEMPLATES.glob("*.html"))
GROUNDS = ("paper", "panel", "raised", "bad-ground", "warn-ground")
COLOUR = re.compile(r"#[0-9a-f]{3,8}\b")


def tokens() -> dict[str, tuple[str, str]]:
    """The colours of the stylesheet, in light and dark."""
    found = re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", STYLES)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """How far two colours are apart, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", ["ink", "soft", "link", "bad", "warn", "busy"])
def test_text_can_be_read_on_every_ground_in_light_and_dark(name: str):
    of = tokens()
    for ground in GROUNDS:
        for theme in (0, 1):
            assert contrast(of[name][theme], of[ground][theme]) >= 4.5, (name, ground, theme)


@pytest.mark.parametrize("name", ["edge", "good", "accent", "span"])
def test_edges_of_fields_and_shapes_can_be_seen(name: str):
    of = tokens()
    for ground in ("paper", "panel", "raised"):
        for theme in (0, 1):
            assert contrast(of[name][theme], of[ground][theme]) >= 3, (name, ground, theme)


def test_the_text_of_the_main_button_can_be_read():
    of = tokens()
    assert all(contrast(of["on-accent"][theme], of["accent"][theme]) >= 4.5 for theme in (0, 1))


def test_only_the_first_rule_of_the_stylesheet_has_colours():
    first, _, others = STYLES.partition("}")
    assert len(COLOUR.findall(first)) > 20
    assert COLOUR.findall(others) == []
    used = set(re.findall(r"var\(--([a-z-]+)\)", others))
    assert used <= set(re.findall(r"--([a-z-]+):", first))


def test_the_stylesheet_loads_nothing():
    assert "@import" not in STYLES
    assert "url(" not in STYLES


def test_htmx_is_the_published_file():
    digest = base64.b64encode(sha384((ASSETS / "htmx.js").read_bytes()).digest()).decode()
    assert digest == "Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn"


def test_htmx_adds_no_styles_keeps_no_history_and_shows_no_error_in_the_middle_of_a_page():
    base = (render.TEMPLATES / "base.html").read_text("utf-8")
    found = re.search(r"<meta name=\"htmx-config\" content='([^']*)'>", base)
    assert found
    config = json.loads(found[1])
    assert config["includeIndicatorCSS"] is False
    assert config["history"] is False
    assert {"4xx", "5xx"} <= set(config["noSwap"])
    assert "open" in config["morphIgnore"]  # what a person has opened stays open


@table("path", TEMPLATES, ids=[path.name for path in TEMPLATES])
def test_a_template_has_nothing_that_the_policy_forbids_and_no_unescaped_value(path: Path):
    text = path.read_text("utf-8")
    assert not re.search(r"\sstyle\s*=|<style|javascript:|srcdoc", text, re.IGNORECASE)
    assert not re.search(r"<[^>{]*\son[a-z]+\s*=", text, re.IGNORECASE)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text, re.IGNORECASE)
    assert not re.search(r"hx-(on|vals|headers|ext|boost|post|put|patch|delete)\b|\bjs:", text)
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)


def test_our_script_runs_no_text_and_keeps_nothing():
    script = (ASSETS / "console.js").read_text("utf-8")
    for forbidden in ("eval", "Function(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "Storage"):
        assert forbidden not in script


@table("path", TEMPLATES, ids=lambda path: path.name)
def test_a_box_to_tick_is_in_a_form_that_puts_it_beside_its_words(path: Path):
    assert 'label:has(> [type="checkbox"], > [type="radio"]) {\n  display: flex;' in STYLES
    for form in re.findall(r"<form\b[^>]*>.*?</form>", path.read_text("utf-8"), re.DOTALL):
        if re.search(r'<label[^>]*><input type="(checkbox|radio)"', form):
            assert re.match(r'<form class="form"', form)
