"""The HTML page is complete and escaped, and its commands say what to send."""

import json
import re
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from postern.openapi.docs_page import ACCESS, assets, page, shown_operations
from postern.openapi.document import openapi_document
from postern.openapi.examples import Examples
from postern.openapi.property_table import Member, Reader
from tests.openapi.catalogs import HERE, HIDDEN, HIDING, ROOT, triggers_of, write
from tests.table import table

pytestmark = pytest.mark.slow

Json = dict[str, Any]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == tag]


def test_what_authors_write_is_text(odd: Json):
    html = page(odd)
    assert "<script>alert" not in html
    shown = Elements(html)
    assert "<script>alert(1)</script> at once" in shown.text
    assert len(shown.all("script")) == 1


def test_it_shows_no_hidden_character(tmp_path: Path, own_modules: None):
    """In docstrings, titles, descriptions, values and commands: they become their codes."""
    document = openapi_document(triggers_of(write(tmp_path / "hiding", hiding=HIDING)), HERE)
    html = page(document)
    assert not set(html) & set(HIDDEN)
    for place in ("Orders", "And", "An order "):
        assert f"{place}\\x1b\\u009b" in html
    assert "\\u202e" in Elements(html).text.partition("curl")[2], "the command sends the same JSON"
    texts = [value for key, value in _pairs(document) if key in ("title", "summary", "description")]
    assert not set("".join(texts)) & set(HIDDEN)
    assert "\n" in document["paths"]["/triggers/hiding"]["post"]["description"]
    assert HIDDEN in json.dumps(document, ensure_ascii=False).replace("\\u001b", "\x1b").replace("\\u0007", "\x07"), (
        "values are data, and stay"
    )


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str):
                yield key, part
            yield from _pairs(part)
    elif isinstance(value, list):
        for part in value:
            yield from _pairs(part)


def test_it_loads_nothing_from_elsewhere_and_has_no_code_of_its_own(odd: Json):
    shown = Elements(page(odd))
    names = assets()
    assert [each["src"] for each in shown.all("script")] == [f"docs/{name}" for name in names if name.endswith("js")]
    assert [each["href"] for each in shown.all("link")] == [f"docs/{name}" for name in names if name.endswith("css")]
    links = [each["href"] or "" for each in shown.all("a")]
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    for _, attributes in shown.found:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset")]
    assert not re.findall(rb"url\(|@import|fetch\(|https?:", b"".join(names.values()))


def test_each_link_of_the_page_leads_to_an_operation(odd: Json):
    shown = Elements(page(odd))
    ids = [attributes["id"] for _, attributes in shown.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for each in shown.all("a"):
        if (each["href"] or "").startswith("#"):
            assert (each["href"] or "")[1:] in ids


def test_every_trigger_has_its_url_its_mode_its_request_and_its_response(examples: Json):
    text = Elements(page(examples)).text
    for path in examples["paths"]:
        assert f"https://postern.example{path}" in text
    for _, power_automate in ACCESS.values():
        assert power_automate in text
    for words in ("minutes", "integer", "at least 15, at most 480", "date and time", "people only", "too-large"):
        assert words in text, words


def test_commands_name_the_token_that_they_need(examples: Json):
    tokens = {
        operation["operationId"]: "postern token --as lisa"
        for methods in examples["paths"].values()
        for operation in methods.values()
    }
    for html in (page(examples), page(examples, tokens=tokens)):
        commands = re.findall(r"<code>(curl.*?)</code>", html, re.DOTALL)
        assert len(commands) == 11
        for command in commands:
            guarded = not re.search("triggers/(hello|register-visitor)", command)
            assert ("Authorization: Bearer $" in command) is guarded
    assert "az account" not in html
    assert "postern token --as lisa" in html
    assert "--scope &#39;api://postern/.default&#39;" in page(examples)


def test_a_catalog_of_nothing_has_a_page(odd: Json):
    assert "no workflows that you may call with the credentials that you sent" in page(odd | {"paths": {}})
    assert "no workflows that you may call." in page(odd | {"paths": {}}, tokens={})


@table(
    ("schema", "words"),
    [
        ({}, "any JSON"),
        ({"type": "array", "items": {"type": "string", "format": "date"}}, "array of dates"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"enum": ["a", 1]}, 'one of "a", 1'),
        ({"const": None}, "null"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "object of booleans"),
        ({"$ref": "#/components/schemas/Pet"}, "Pet"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}, "array of Pet"),
        ({"allOf": [{"type": "number"}], "title": "X"}, "number"),
        ({"type": "array"}, "array"),
    ],
)
def test_types_are_shown_in_words(schema: Json, words: str):
    assert Reader({"Pet": {"type": "object", "title": "Pet"}}).words(schema) == words


def test_a_list_of_itself_is_shown_by_its_name():
    components: Json = {
        "Tree": {"type": "array", "title": "Tree", "items": {"$ref": "#/components/schemas/Tree"}},
        "Value": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/components/schemas/Value"}}]},
    }
    words = Reader(components).words
    assert words({"$ref": "#/components/schemas/Tree"}) == "array of Tree"
    assert words({"$ref": "#/components/schemas/Value"}) == "integer or array of Value"


def test_members_of_members_are_shown_once():
    node = {
        "type": "object",
        "title": "Node",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "Its name."},
            "next": {"anyOf": [{"$ref": "#/components/schemas/Node"}, {"type": "null"}], "default": None},
            "leaves": {"type": "array", "items": {"type": "object", "properties": {"size": {"type": "number"}}}},
        },
    }
    rows = Reader({"Node": node}).members({"$ref": "#/components/schemas/Node"})
    assert rows[0] == Member("name", "string", True, "Its name.", ("at least 1 character",))
    assert [row.name for row in rows] == ["name", "next", "leaves", "leaves[].size"]


def test_a_schema_that_doubles_at_each_level_has_an_end():
    components: Json = {
        f"M{level}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/components/schemas/M{level + 1}"} for side in ("left", "right")},
        }
        for level in range(40)
    }
    whole: Json = {"$ref": "#/components/schemas/M0"}
    assert len(Reader(components).members(whole)) == 200
    assert len(json.dumps(Examples(components).example(whole))) < 10_000


def test_a_choice_that_doubles_at_each_level_has_an_end():
    def choice(level: int) -> Json:
        below = {"$ref": f"#/components/schemas/C{level + 1}"}
        return {"anyOf": [{"type": "array", "items": below}, below, {"type": "string"}], "title": f"C{level}"}

    components = {f"C{level}": choice(level) for level in range(40)}
    whole: Json = {"$ref": "#/components/schemas/C0"}
    assert len(Reader(components).words(whole)) < 1000
    assert Reader(components).members(whole) == []


@pytest.mark.parametrize(
    ("schema", "length"),
    [
        ({"type": "string", "minLength": 10**9}, 1000),
        ({"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9, "items": {}}}, 200),
    ],
    ids=["text", "list"],
)
def test_an_example_is_never_long(schema: Json, length: int):
    assert len(Examples({}).example(schema)) <= length


def test_an_example_of_a_choice_is_its_default():
    assert Examples({}).example({"enum": [1, 2], "default": 2}) == 2


def test_a_summary_is_not_shown_twice(examples: Json):
    document = deepcopy(examples)
    document["paths"]["/triggers/hello"]["post"] |= {"summary": "Say it at once!", "description": "Say it at once."}
    assert Elements(page(document)).text.count("Say it at once") == 2  # in the list and as the heading


def test_the_wheel_has_the_template_and_the_assets(tmp_path: Path):
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("docs.html", "docs.css", "docs.js"):
        assert f"postern/openapi/assets/{name}" in names


def test_the_command_for_a_head_does_not_wait_for_content(odd: Json):
    """`curl -X HEAD` does, and `curl --head` takes no body."""
    document = deepcopy(odd)
    for item in document["paths"].values():
        item["head"] = item.pop(next(iter(item)))
        for other in [method for method in item if method != "head"]:
            del item[other]
    commands = re.findall(r"<code>(curl.*?)</code>", page(document), re.DOTALL)
    assert commands
    assert all(command.startswith("curl --head ") and " -d " not in command for command in commands)


def test_a_durable_workflow_says_where_its_result_will_be(tmp_path: Path):
    text = (
        "from postern import workflow\n\n@workflow(durable=True)\nasync def long(ctx) -> str: ...\n\n"
        "@workflow\nasync def short(ctx) -> str: ...\n"
    )
    document = openapi_document(triggers_of(write(tmp_path, long=text)), HERE)
    shown = {each.id: each.later for each in shown_operations(document)}
    assert shown == {"Long": True, "Short": False}
    assert page(document).count("The reply is 202") == 1
