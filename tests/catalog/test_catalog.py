"""The catalog over real files: what is collected, what changes, what is faulty, and what is served meanwhile."""

import itertools
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postern.access import Access, AccessFault, Policy, SpecificUsers
from postern.access.policy import Open
from postern.catalog import Catalog, Fault, Snapshot
from tests.examples import example_count

pytestmark = [pytest.mark.usefixtures("own_modules"), pytest.mark.slow]

HEAD = "from postern import Context, workflow, anonymous, specific_users\n"


def bind(access: Access) -> Policy:
    if isinstance(access, SpecificUsers):
        raise AccessFault(f"there is no name {access.people[0]!r}: add it to [people]")
    return Open()


class Folder:
    """A folder of workflows and a catalog of it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.path.mkdir(exist_ok=True)
        self.changes: list[tuple[Snapshot, Snapshot]] = []
        self.catalog = Catalog(path, bind, on_change=lambda old, new: self.changes.append((old, new)), **options)

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def put(self, name: str, body: str, head: str = HEAD) -> Path:
        """Write the file `name` and load."""
        file = self.write(name, head + dedent(body))
        self.catalog.load()
        return file

    def remove(self, name: str) -> None:
        (self.path / name).unlink()
        self.catalog.load()

    @property
    def names(self) -> set[str]:
        return set(self.catalog.snapshot.triggers)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.catalog.snapshot.faults

    def call(self, name: str) -> Any:
        return self.catalog.snapshot.triggers[name].workflow(None)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "flows")


def says(value: object, name: str = "hello") -> str:
    return f"@workflow\ndef {name}(ctx): return {value!r}\n"


def test_modules_and_packages_are_loaded_and_helpers_are_not(folder: Folder) -> None:
    """Workflows come from *.py and */__init__.py; names with an underscore or a dot are no entries."""
    folder.write("one.py", HEAD + says(1, "one") + says(11, "eleven"))
    folder.write("pack/__init__.py", HEAD + "from workflows.pack.inner import three\n" + says(2, "two"))
    folder.write("pack/inner.py", HEAD + says(3, "three"))
    folder.write("plain/loose.py", HEAD + says(4, "four"))
    folder.write("_helper.py", HEAD + says(5, "five"))
    folder.write("_hidden/__init__.py", HEAD + says(6, "six"))
    folder.write(".git/__init__.py", HEAD + says(7, "seven"))
    folder.write("pack/__pycache__/x.py", "1/0")
    folder.write("kebab-case.py", HEAD + says(8, "eight"))

    snapshot = folder.catalog.load()

    assert snapshot is folder.catalog.snapshot
    assert [fault.file.name for fault in snapshot.faults] == ["loose.py"]
    assert set(snapshot.triggers) == {"one", "eleven", "two", "three", "eight"}
    assert snapshot.triggers["one"].file == folder.path / "one.py"
    assert snapshot.triggers["three"].file == folder.path / "pack/inner.py"
    assert snapshot.triggers["eleven"].workflow.line == 4


def test_helpers_are_imported_by_either_way(folder: Folder) -> None:
    """`from workflows._x`, `from ._x`, `import workflows._x as x`, `import_module` and stars all find one module."""
    folder.write("_lib/__init__.py", "")
    folder.write("_lib/deep.py", "__all__ = ['value']\nvalue = object()\nother = 1\n")
    folder.write("__init__.py", "")
    folder.put(
        "hello.py",
        """
        import importlib
        from workflows._lib.deep import value as a
        from ._lib.deep import value as b
        from ._lib import deep
        from . import _lib
        import workflows._lib.deep as whole
        import workflows
        module = importlib.import_module("._lib.deep", __package__)
        from workflows._lib.deep import *
        assert a is b is deep.value is _lib.deep.value is whole.value is value
        assert a is workflows._lib.deep.value is module.value
        assert "other" not in globals()
        @workflow
        def hello(ctx): return __name__, __package__, __file__
        """,
    )

    assert folder.faults == ()
    assert folder.call("hello") == ("workflows.hello", "workflows", str(folder.path / "hello.py"))


def test_a_workflow_belongs_to_the_file_that_defines_it(folder: Folder) -> None:
    """An imported workflow is not collected twice, nor one that has two names in its module."""
    folder.write("a.py", HEAD + "from workflows.b import second\n" + says(1, "first") + "again = first\n")
    folder.write("b.py", HEAD + says(2, "second"))

    snapshot = folder.catalog.load()

    assert (set(snapshot.triggers), snapshot.faults) == ({"first", "second"}, ())
    assert snapshot.triggers["second"].file.name == "b.py"
    assert sys.modules["workflows.a"].second is snapshot.triggers["second"].workflow


def test_types_of_a_module_resolve_in_it(folder: Folder) -> None:
    """pydantic and dataclasses look for a class's module in sys.modules, also with postponed annotations."""
    folder.put(
        "hello.py",
        """
        from dataclasses import dataclass, field
        from pydantic import BaseModel
        class Part(BaseModel):
            parts: "list[Part]" = []
        @dataclass
        class Whole:
            part: Part
            more: list[int] = field(default_factory=list)
        @workflow
        def hello(ctx: Context, whole: Whole) -> None: ...
        """,
        head="from __future__ import annotations\n" + HEAD,
    )

    assert folder.faults == ()
    body = folder.catalog.snapshot.triggers["hello"].workflow.body
    assert body is not None
    assert body.adapter is not None
    assert body.adapter.validate_python({"part": {"parts": [{}]}}).part.parts[0].parts == []


def test_an_edit_of_the_same_size_and_time_is_seen(folder: Folder) -> None:
    """Content counts: neither a time stamp nor bytecode hides an edit, in an entry or a helper."""
    import os

    folder.write("_lib.py", "value = 1\n")
    folder.put("hello.py", "from workflows._lib import value\n" + says(1).replace("return 1", "return 1, value"))
    times = [(file, file.stat().st_mtime_ns) for file in folder.path.glob("*.py")]

    def edit(name: str, old: str, new: str) -> None:
        file = folder.path / name
        folder.write(name, file.read_text().replace(old, new))
        for path, time in times:
            os.utime(path, ns=(time, time))
        folder.catalog.load()

    assert folder.call("hello") == (1, 1)
    edit("hello.py", "return 1", "return 2")
    assert folder.call("hello") == (2, 1)
    edit("_lib.py", "value = 1", "value = 2")
    assert folder.call("hello") == (2, 2)
    assert not list(folder.path.rglob("__pycache__"))


def test_only_changed_files_are_loaded_again(folder: Folder) -> None:
    """An unchanged module keeps its state; a touched file is no change; a changed helper reloads everything."""
    folder.put("hello.py", says(1))
    folder.put("other.py", says(1, "other"))
    other = folder.catalog.snapshot.triggers["other"]
    seen = len(folder.changes)

    (folder.path / "hello.py").touch()
    folder.catalog.load()
    assert len(folder.changes) == seen
    folder.put("hello.py", says(2))
    assert folder.catalog.snapshot.triggers["other"] is other
    folder.put("_new.py", "")
    assert folder.catalog.snapshot.triggers["other"] is not other
    assert folder.call("hello") == 2


def test_an_entry_that_another_imports_counts_as_a_helper(folder: Folder) -> None:
    """What was imported from a changed file is not left behind, nor a file that waited for another to come."""
    folder.put("a.py", "from workflows.b import value\n@workflow\ndef a(ctx): return value\n")
    assert folder.names == set()
    assert "No module named 'workflows.b'" in folder.faults[0].cause
    folder.put("b.py", "value = 1\n" + says(1, "b"))
    assert folder.call("a") == 1
    folder.put("b.py", "value = 2\n" + says(1, "b"))
    assert folder.call("a") == 2


def test_a_module_is_executed_once_a_load(folder: Folder) -> None:
    """A file that another imports is not executed a second time as an entry."""
    folder.write("a.py", HEAD + "from workflows.b import b\n" + says(1, "a"))
    folder.write("b.py", HEAD + "import sys\nsys.executed_b = getattr(sys, 'executed_b', 0) + 1\n" + says(1, "b"))
    try:
        folder.catalog.load()
        assert vars(sys)["executed_b"] == 1
    finally:
        del vars(sys)["executed_b"]


TOO_SLOW = "import of workflows.faulty did not end within 0.3 s"
FAULTS: list[tuple[str, str | bytes, int | None, str, str]] = [
    ("syntax", "\n\ndef (", 4, "SyntaxError: invalid syntax", "syntax"),
    ("exception", "\n1 / 0", 3, "ZeroDivisionError: division by zero", "function"),
    ("called", "\ndef f():\n    raise KeyError('k')\nf()", 4, "KeyError: 'k'", "function"),
    ("exit", "import sys\nsys.exit(3)", 3, "SystemExit: 3", "__main__"),
    ("interrupt", "raise KeyboardInterrupt", 2, "KeyboardInterrupt", "__main__"),
    ("workflow", "@workflow(timeout=0)\ndef x(ctx): ...", 2, "WorkflowFault: timeout=0", ""),
    ("access", "@workflow(access=specific_users())\ndef x(ctx): ...", 2, "AccessFault: specific_users()", ""),
    ("bind", "\n@workflow(access=specific_users('x'))\ndef x(ctx): ...", 3, "there is no name 'x'", ""),
    ("missing", "import not_installed.x", 2, "No module named 'not_installed'", "Install 'not_installed'"),
    ("helper", "from workflows._none import x", 2, "No module named 'workflows._none'", "add the missing module"),
    ("name", "from postern import nothing", 2, "ImportError: cannot import name 'nothing'", "Correct the import"),
    ("beyond", "from ...x import y", 2, "ImportError: ", "Correct the import"),
    ("nothing", "x = 1", None, "No workflow is defined", "@workflow"),
    ("foreign", "from workflows.good import good", None, "No workflow is defined", "@workflow"),
    ("encoding", b"\n# caf\xe9", 2, "not text in UTF-8", "UTF-8"),
    ("cookie", b"# -*- coding: latin-1 -*-\n# caf\xe9", 2, "not text in UTF-8", "UTF-8"),
    ("null", b"x = '\x00'", None, "null bytes", ""),
    ("twice", says(1) + says(2), 4, "The function 'hello' is also defined in ", "Rename"),
    (
        "named",
        says(1) + "@workflow(name='hello')\ndef x(ctx): ...",
        4,
        "line 2, has the name 'hello' too",
        "Rename",
    ),
    ("long", "raise ValueError('x' * 5000)", 2, "ValueError: xxx", "function"),
    ("mute", "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute", 4, "Mute", "function"),
    ("helper-syntax", "from workflows._bad import x", 2, "SyntaxError: invalid syntax (_bad.py, line 2)", "_bad.py"),
    ("helper-error", "\nfrom workflows._worse import x", 3, "ZeroDivisionError: division by zero (_worse.py", "_worse"),
    ("slow", "\nimport time\nwhile True: time.sleep(0.01)", 4, TOO_SLOW, "slow work"),
    ("busy", "\nwhile True: pass", 3, TOO_SLOW, "slow work"),
]


@pytest.mark.parametrize(("kind", "text", "line", "cause", "fix"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_faulty_module_is_a_fault_and_takes_nothing_down(
    tmp_path: Path, kind: str, text: str | bytes, line: int | None, cause: str, fix: str
) -> None:
    """Each kind of fault has its file, line, cause and fix. At first nothing of the file is served; after it worked,
    that version is still served; and the fault ends when the file is fixed."""
    folder = Folder(tmp_path / "flows", import_timeout=0.3 if "0.3 s" in cause else 60)
    folder.write("good.py", HEAD + says("good", "good"))
    folder.write("_bad.py", "\ndef (\n")
    folder.write("_worse.py", "\n1 / 0\n")
    faulty = text if isinstance(text, bytes) else HEAD + text
    file = folder.write("faulty.py", faulty)

    folder.catalog.load()

    assert folder.names == {"good"}
    (fault,) = folder.faults
    assert (fault.file, fault.line, fault.still_serving) == (file, line, ())
    assert cause in fault.cause
    assert fix in fault.fix
    assert bool(fault.fix) == (kind not in ("workflow", "access", "bind"))  # their causes say what to do
    assert len(fault.cause) < 600
    assert "\n" not in fault.cause

    folder.put("faulty.py", says("worked", "one") + says("too", "two"))
    assert (folder.names, folder.faults) == ({"good", "one", "two"}, ())
    module = sys.modules["workflows.faulty"]

    folder.write("faulty.py", faulty)
    folder.catalog.load()
    assert folder.call("one") == "worked"
    assert folder.names == {"good", "one", "two"}
    assert folder.faults[0].still_serving == ("one", "two")
    assert sys.modules["workflows.faulty"] is module

    folder.put("faulty.py", says("healed", "one"))
    assert (folder.names, folder.faults, folder.call("one")) == ({"good", "one"}, (), "healed")


def test_an_unreadable_file_is_a_fault(folder: Folder) -> None:
    """Reading it fails with an error of the system, as a permission or a disk may."""
    file = folder.path / "broken.py"
    file.symlink_to("/proc/self/mem")
    with pytest.raises(OSError):  # noqa: PT011 - which one differs between systems
        file.read_bytes()
    folder.put("hello.py", says(1))

    assert folder.names == {"hello"}
    assert (folder.faults[0].file, folder.faults[0].line) == (file, None)
    assert "OSError" in folder.faults[0].cause
    assert "read access" in folder.faults[0].fix


@pytest.mark.parametrize(
    ("beside", "cause"),
    [
        (False, "ModuleNotFoundError: No module named 'app'"),
        (True, "ImportError: cannot import name 'workflow' from 'app' (unknown location)"),
    ],
)
def test_an_import_from_the_package_name_of_release_0_1_gets_the_new_name(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool, cause: str
) -> None:
    """The error differs where a folder `app` without a module exists: it is a namespace package."""
    (tmp_path / "app").mkdir()
    others = [place for place in sys.path if not (Path(place) / "app").is_dir()]
    monkeypatch.setattr(sys, "path", [*others, str(tmp_path)] if beside else others)
    try:
        folder.put("former.py", "from app import workflow\n", head="")
    finally:
        sys.modules.pop("app", None)

    (fault,) = folder.faults
    assert (fault.line, fault.cause) == (1, cause)
    assert fault.fix == "Write `from postern import ...`: the package was called `app` in release 0.1."


def test_a_hanging_helper_delays_only_once_and_can_be_fixed(tmp_path: Path) -> None:
    """The hanging thread is abandoned, no import waits for it again, and its correction is loaded."""
    folder = Folder(tmp_path / "flows", import_timeout=0.3)
    folder.write("_slow.py", "import time\nwhile True: time.sleep(0.01)\n")
    for name in ("a", "b", "c"):
        folder.write(f"{name}.py", HEAD + "from workflows._slow import *\n" + says(1, name))
    folder.write("d.py", HEAD + says(1, "d"))

    folder.catalog.load()

    assert folder.names == {"d"}
    assert [fault.line for fault in folder.faults] == [2, 2, 2]
    assert "import of workflows._slow did not end" in folder.faults[0].cause
    assert "workflows._slow did not end" in folder.faults[2].cause
    folder.put("_slow.py", "")
    assert (folder.names, folder.faults) == ({"a", "b", "c", "d"}, ())


def test_a_broken_helper_keeps_the_versions_that_worked(folder: Folder) -> None:
    """Every file that imports it falls back, together with the helper that it had; the others are served as written."""
    folder.write("_lib.py", "value = 1\n")
    folder.write("a.py", HEAD + "from workflows import _lib\n@workflow\ndef a(ctx): return _lib.value\n")
    folder.write("b.py", HEAD + says(1, "b"))
    folder.catalog.load()
    helper = sys.modules["workflows._lib"]

    folder.put("_lib.py", "value = \n", head="")

    assert (folder.call("a"), folder.names) == (1, {"a", "b"})
    assert [(fault.file.name, fault.line, fault.still_serving) for fault in folder.faults] == [("a.py", 2, ("a",))]
    assert sys.modules["workflows._lib"] is helper
    folder.put("_lib.py", "value = 2\n", head="")
    assert (folder.call("a"), folder.faults) == (2, ())


def test_two_files_with_one_name_are_both_faulty(folder: Folder) -> None:
    """At first neither is served, later the older goes on; each fault names the other, and removing one heals."""
    folder.write("a.py", HEAD + says("a") + says("a", "only-a".replace("-", "_")))
    folder.write("b.py", HEAD + says("b"))
    folder.catalog.load()
    assert folder.names == set()
    assert [(fault.file.name, fault.line) for fault in folder.faults] == [("a.py", 2), ("b.py", 2)]
    assert f"{folder.path / 'b.py'}, line 2" in folder.faults[0].cause
    assert f"{folder.path / 'a.py'}, line 2" in folder.faults[1].cause

    folder.remove("a.py")
    assert (folder.call("hello"), folder.faults) == ("b", ())

    folder.put("c.py", says("c"))
    assert folder.call("hello") == "b"
    assert [(fault.file.name, fault.still_serving) for fault in folder.faults] == [("b.py", ("hello",)), ("c.py", ())]

    folder.put("c.py", says("c", "other"))
    assert (folder.names, folder.faults) == ({"hello", "other"}, ())
    folder.put("c.py", says("c2"))
    assert (folder.call("hello"), folder.call("other")) == ("b", "c")
    folder.put("b.py", says("b2", "other"))
    assert (folder.call("hello"), folder.call("other"), folder.faults) == ("c2", "b2", ())


def test_falling_back_can_make_another_fall_back(folder: Folder) -> None:
    """A new file does not get a name that a faulty file still serves, until the fault is fixed."""
    folder.put("a.py", says("a", "first"))
    folder.write("a.py", "def (")
    folder.put("b.py", says("b", "first"))
    assert (folder.call("first"), len(folder.faults)) == ("a", 2)
    folder.put("a.py", says("a", "second"))
    assert (folder.call("first"), folder.call("second"), folder.faults) == ("b", "a", ())


def test_a_module_and_a_package_of_one_name_are_both_faulty(folder: Folder) -> None:
    """Python would take the package and never say so."""
    folder.put("orders.py", says("module"))
    folder.put("orders/__init__.py", says("package", "other"))
    assert (folder.names, folder.call("hello")) == ({"hello"}, "module")
    assert ["orders/__init__.py are both" in fault.cause for fault in folder.faults] == [True, True]
    folder.remove("orders.py")
    assert (folder.names, folder.faults) == ({"other"}, ())


def test_a_removed_file_takes_its_workflows_and_its_faults_away(folder: Folder) -> None:
    """Also where it was faulty and an older version served."""
    folder.put("hello.py", says(1))
    folder.put("hello.py", "def (")
    assert (folder.names, len(folder.faults)) == ({"hello"}, 1)
    folder.remove("hello.py")
    assert (folder.names, folder.faults) == (set(), ())
    assert "workflows.hello" not in sys.modules


def test_linked_folders_and_files_are_followed_but_not_in_circles(folder: Folder, tmp_path: Path) -> None:
    """Mounted volumes are made of links, with the content in a hidden folder."""
    folder.write("..data/hello.py", HEAD + says(1))
    folder.write("..data/pack/__init__.py", HEAD + says(2, "packed"))
    (folder.path / "hello.py").symlink_to("..data/hello.py")
    (folder.path / "pack").symlink_to("..data/pack")
    (folder.path / "circle").symlink_to(".")
    (folder.path / "dangling.py").symlink_to("nowhere.py")
    folder.catalog.load()

    assert (folder.names, folder.faults) == ({"hello", "packed"}, ())


def test_a_missing_folder_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    """At the start it is raised; later too, and what was served stays."""
    with pytest.raises(FileNotFoundError, match="POSTERN_WORKFLOWS"):
        Catalog(tmp_path / "none", bind).load()
    folder = Folder(tmp_path / "flows")
    folder.put("hello.py", says(1))
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="POSTERN_WORKFLOWS"):
        folder.catalog.load()
    assert folder.call("hello") == 1


def test_a_snapshot_never_changes(folder: Folder) -> None:
    """A reader that holds one is not surprised by a swap."""
    folder.put("hello.py", says(1))
    held = folder.catalog.snapshot
    folder.put("hello.py", says(2))

    assert held.triggers["hello"].workflow(None) == 1
    with pytest.raises(TypeError):
        held.triggers["x"] = held.triggers["hello"]  # type: ignore[index]
    assert folder.changes[-1] == (held, folder.catalog.snapshot)


def test_changes_are_logged_once(folder: Folder) -> None:
    """Loaded, removed and faulty workflows are events; a fault that stays as it is is not logged again."""
    with capture_logs() as logs:
        folder.put("hello.py", says(1))
        folder.put("bad.py", "\n1 / 0\n")
        folder.put("other.py", says(1, "other"))
        folder.remove("hello.py")

    assert [(entry["event"], Path(entry["file"]).name, entry["line"]) for entry in logs] == [
        ("workflow-loaded", "hello.py", 2),
        ("workflow-fault", "bad.py", 3),
        ("workflow-loaded", "other.py", 2),
        ("workflow-removed", "hello.py", 2),
    ]
    assert logs[1]["cause"] == "ZeroDivisionError: division by zero"
    assert logs[1]["fix"]


FILES = ("a", "b", "c")
EDITS = st.lists(
    st.tuples(st.sampled_from(FILES), st.sampled_from(["x", "y", "z", "xy", "bad", "none", "gone"])), max_size=12
)


@settings(max_examples=example_count(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, batches=st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_edits_keep_the_promises(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str]], batches: list[bool]
) -> None:
    """After any edits, of one or several files at a time, a name is served once, by a file that has it or had it. A
    file that exists and was served is still served. If the last files are valid, the result is that of a fresh load."""
    folder = Folder(tmp_path_factory.mktemp("edits"))
    stamp = itertools.count()
    written: dict[str, str] = {}
    for (name, content), load_now in zip(
        [*edits, *zip(FILES, "xyz", strict=True)], [*batches, *[True] * 3], strict=False
    ):
        served_before = {trigger.file.stem for trigger in folder.catalog.snapshot.triggers.values()}
        if content == "gone":
            (folder.path / f"{name}.py").unlink(missing_ok=True)
            written.pop(name, None)
        else:
            text = {"bad": "1 / 0", "none": "pass"}.get(content) or "".join(says(next(stamp), each) for each in content)
            folder.write(f"{name}.py", HEAD + text + f"# {next(stamp)}\n")
            written[name] = content
        if not load_now:
            continue
        folder.catalog.load()
        snapshot = folder.catalog.snapshot
        served = {trigger.file.stem for trigger in snapshot.triggers.values()}
        assert served <= written.keys()
        assert served_before & written.keys() <= served
        faulty = {fault.file.stem for fault in snapshot.faults}
        assert faulty | served == written.keys()
        for fault in snapshot.faults:
            mine = {name for name, trigger in snapshot.triggers.items() if trigger.file == fault.file}
            assert set(fault.still_serving) == mine
        for each, content in written.items():
            if each not in faulty:
                assert {n for n, t in snapshot.triggers.items() if t.file.stem == each} == set(content)

    folder.catalog.load()
    fresh = Catalog(folder.path, bind).load()
    served_names = {name: trigger.workflow(None) for name, trigger in folder.catalog.snapshot.triggers.items()}
    assert served_names == {name: trigger.workflow(None) for name, trigger in fresh.triggers.items()}
    assert folder.faults == fresh.faults == ()


def test_who_may_send_signals_is_bound_with_who_may_call(folder: Folder):
    """A name in `signals=` that is nobody's is a fault, like one in `access=`."""
    body = """
    @workflow(access=anonymous(), durable=True, signals={signals})
    async def waits(ctx: Context): ...
    """
    folder.put("a.py", body.format(signals="anonymous()"))
    assert isinstance(folder.catalog.snapshot.triggers["waits"].signals, Open)
    folder.put("a.py", body.format(signals="None"))
    assert folder.catalog.snapshot.triggers["waits"].signals is None
    folder.put("a.py", body.format(signals='specific_users("nobody")'))
    [fault] = folder.faults
    assert "'nobody'" in fault.cause
    assert folder.catalog.snapshot.triggers["waits"].signals is None
