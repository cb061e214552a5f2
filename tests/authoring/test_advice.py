"""What an author most probably meant: it is always something that `@workflow` takes, or nothing."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from postern.authoring import inputs
from postern.authoring.advice import of_access, of_annotation, of_name, of_segment, shown
from postern.authoring.by_server import WORKFLOW_NAME
from postern.authoring.signature import path_segments_of
from postern.catalog.fixes import fix_of


@given(st.text())
def test_a_name_that_is_advised_is_valid(chosen: str):
    advised = of_name(chosen)
    assert advised == "" or WORKFLOW_NAME.fullmatch(advised)


@given(st.text(alphabet="<>{}:/abc_1.-é "))
def test_a_part_of_a_path_that_is_advised_is_valid(segment: str):
    advised = of_segment(segment)
    if advised:
        assert path_segments_of("/" + advised.removeprefix(". Write ").split(",")[0])


@pytest.mark.parametrize(
    ("segment", "part"),
    [
        ("{room:int}", "{room}"),
        ("<room>", "{room}"),
        ("<int:room>", "{room}"),
        (":room", "{room}"),
        ("{room", "{room}"),
    ],
)
def test_the_forms_of_other_frameworks_are_known(segment: str, part: str):
    assert of_segment(segment).startswith(f". Write {part},")


@pytest.mark.parametrize("segment", ["", "a b", "..", "é", "<>", "{}", "{1}"])
def test_nothing_is_advised_for_what_is_no_parameter(segment: str):
    assert of_segment(segment) == ""


def test_what_is_shown_of_a_value_has_no_address_and_is_short():
    assert shown(test_what_is_shown_of_a_value_has_no_address_and_is_short).startswith("test_what")
    assert shown("x" * 1000) == "str"
    assert shown(object()) == "object"


@pytest.mark.parametrize("value", [None, 3, object(), [], [1], {"lisa"}, "lisa", lambda: 1, int])
def test_any_value_in_place_of_an_access_mode_gets_advice(value: Any):
    assert of_access(value)
    assert of_annotation(value)


@pytest.mark.parametrize("call", ["Query(ge=1)", "Query(5)", "Header(title='x')", "Form(embed=True)"])
def test_options_of_another_framework_get_the_way_to_write_them(call: str):
    with pytest.raises(TypeError) as caught:
        eval(call, dict(vars(inputs)))
    fix = fix_of(caught.value, Path("a.py"), Path())
    assert f"`Annotated[int, {call.partition('(')[0]}(), Field(ge=1)]`" in fix


def test_the_file_of_another_framework_is_ours():
    assert "write `from postern import UploadFile`" in of_annotation(UploadFile)
