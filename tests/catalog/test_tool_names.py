"""Two tools of one name are a fault of both, in whatever files and order they appear."""

import pytest
from structlog.testing import capture_logs

from tests.catalog.test_catalog import Folder, folder

__all__ = ["folder"]

pytestmark = [pytest.mark.usefixtures("own_modules"), pytest.mark.slow]


def tool(name: str, options: str = "tool=True", value: object = 1) -> str:
    return f'@workflow({options})\ndef {name}(ctx):\n    "Do it."\n    return {value!r}\n'


BOTH = tool("report", 'tool=True, methods=["GET", "POST"]')


def test_tools_of_one_name_in_two_files_are_a_fault_of_both_with_place_and_fix(folder: Folder):
    folder.write("a.py", "from postern import workflow\n" + BOTH)
    folder.put("b.py", tool("get_report"))
    assert folder.names == set()
    first, second = folder.faults
    assert (first.file.name, first.line, second.file.name, second.line) == ("a.py", 2, "b.py", 2)
    assert first.cause == f"The workflow in {second.file}, line 2, is the tool 'get-report' too."
    assert second.cause == f"The workflow in {first.file}, line 2, is the tool 'get-report' too."
    assert first.fix == 'Rename one of the two functions, set another name="...", or leave tool= out of one.'


def test_tools_of_one_name_in_one_file_are_a_fault(folder: Folder):
    folder.put("a.py", BOTH + tool("get_report"))
    [fault] = folder.faults
    assert (folder.names, fault.line) == (set(), 2)
    assert fault.cause == f"The workflow in {fault.file}, line 6, is the tool 'get-report' too."


def test_a_workflow_that_is_no_tool_may_have_the_name_of_one(folder: Folder):
    folder.put("a.py", BOTH + tool("get_report", "tool=False"))
    assert (folder.names, folder.faults) == ({"report", "get-report"}, ())


def test_a_served_tool_goes_on_as_it_was_until_the_clash_ends(folder: Folder):
    folder.put("a.py", BOTH)
    folder.put("b.py", tool("get_report", "tool=False", "old"))
    assert not folder.faults
    folder.put("b.py", tool("get_report", value="new"))
    assert folder.names == {"report", "get-report"}
    assert folder.call("get-report") == "old"
    assert [fault.still_serving for fault in folder.faults] == [("report",), ("get-report",)]
    folder.put("a.py", tool("report"))
    assert (folder.call("get-report"), folder.faults) == ("new", ())


def test_more_than_forty_tools_are_a_warning_once(folder: Folder):
    many = "".join(tool(f"do_{number}") for number in range(40))
    with capture_logs() as logs:
        folder.put("a.py", many)
        assert not [each for each in logs if each["event"] == "many-tools"]
        folder.put("b.py", tool("more"))
        folder.put("c.py", tool("still_more"))
    [warning] = [each for each in logs if each["event"] == "many-tools"]
    assert warning["cause"].startswith("the workflows are 41 tools for agents.")


def test_a_fault_of_a_tool_has_its_line(folder: Folder):
    folder.put("a.py", "@workflow(tool=True)\ndef quiet(ctx): return 1\n")
    [fault] = folder.faults
    assert fault.line == 2
    assert fault.cause.startswith("WorkflowFault: tool=: quiet() has no docstring, by which an agent chooses a tool")
