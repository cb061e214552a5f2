"""A name in `on_failure` that is no workflow is a fault, whatever the order in which files load, appear and vanish."""

from pathlib import Path

import pytest

from postern.catalog import Fault
from tests.catalog.test_catalog import Folder, folder, says

__all__ = ["folder"]

pytestmark = pytest.mark.usefixtures("own_modules")

ASKS = '@workflow(on_failure="notify-me")\ndef nightly(ctx): return 1\n'
GONE = "on_failure='notify-me': no workflow of this name is served. Add it, or correct the name."


def test_a_name_that_no_file_has_is_a_fault_until_one_has_it(folder: Folder):
    folder.put("jobs.py", ASKS)
    [fault] = folder.faults
    assert (fault.cause, fault.line, fault.still_serving) == (GONE, 2, ())
    assert folder.names == set()
    folder.put("zeta.py", says(1, "notify_me"))
    assert (folder.names, folder.faults) == ({"nightly", "notify-me"}, ())


def test_a_name_that_vanishes_is_a_fault_and_the_workflow_goes_on(folder: Folder):
    folder.put("a.py", says(1, "notify_me"))
    folder.put("jobs.py", ASKS)
    assert not folder.faults
    folder.remove("a.py")
    [fault] = folder.faults
    assert (folder.names, fault.cause, fault.still_serving) == ({"nightly"}, GONE, ("nightly",))
    folder.put("a.py", says(1, "notify_me"))
    assert folder.faults == ()


def test_a_file_falls_back_to_its_last_version_that_worked(folder: Folder):
    folder.put("jobs.py", says("old", "nightly"))
    folder.put("jobs.py", ASKS)
    assert (folder.call("nightly"), [fault.cause for fault in folder.faults]) == ("old", [GONE])


def test_a_chain_of_files_falls_together(folder: Folder):
    folder.write("a.py", "from postern import workflow\n" + '@workflow(on_failure="two")\ndef one(ctx): return 1\n')
    folder.write("b.py", "from postern import workflow\n" + '@workflow(on_failure="gone")\ndef two(ctx): return 2\n')
    folder.put("c.py", says(3, "three"))
    assert folder.names == {"three"}
    assert [fault.cause.partition(":")[0] for fault in folder.faults] == ["on_failure='two'", "on_failure='gone'"]


def test_two_workflows_may_name_each_other(folder: Folder):
    folder.put(
        "jobs.py",
        '@workflow(on_failure="two")\ndef one(ctx): return 1\n@workflow(on_failure="one")\ndef two(ctx): return 2\n',
    )
    assert (folder.names, folder.faults) == ({"one", "two"}, ())


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ('@workflow(methods=["GET"])\ndef notify_me(ctx): ...\n', "the workflow takes no POST"),
        ("@workflow(stateless=True)\ndef notify_me(ctx): ...\n", "Drop stateless=True"),
        ('@workflow(path="/{one}")\ndef notify_me(ctx, one: str): ...\n', "its path has parameters"),
    ],
)
def test_a_workflow_that_cannot_hear_of_failures_is_a_fault_of_the_one_that_names_it(
    folder: Folder, target: str, why: str
):
    folder.put("a.py", target)
    folder.put("jobs.py", ASKS)
    [fault] = folder.faults
    assert fault.file == folder.path / "jobs.py"
    assert why in fault.cause


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('on_failure="nightly"', "names the workflow itself"),
        ('on_failure="Notify Me"', "is not the name of a workflow"),
        ("on_failure=3", "is not the name of a workflow"),
        ('on_failure="notify-me", stateless=True', "exclude each other"),
    ],
)
def test_a_faulty_name_is_a_fault(folder: Folder, options: str, why: str):
    folder.put("jobs.py", f"@workflow({options})\ndef nightly(ctx): return 1\n")
    [fault] = folder.faults
    assert fault.cause.startswith("WorkflowFault: on_failure=")
    assert why in fault.cause


def test_what_names_workflows_outside_of_the_folder_has_faults_beside_those_of_files(tmp_path: Path):
    missing = Fault(tmp_path / "postern.toml", None, "gone", "", ())
    folder = Folder(tmp_path / "flows", besides=lambda triggers: () if "nightly" in triggers else (missing,))
    folder.put("jobs.py", says(1, "other"))
    assert list(folder.faults) == [missing]
    folder.put("jobs.py", says(1, "nightly"))
    assert not folder.faults
