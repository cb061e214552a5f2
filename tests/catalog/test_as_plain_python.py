"""What plain Python and uvicorn do with an author's module works here too: its context, thread, files and imports."""

import threading
from contextvars import copy_context
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from postern.catalog.context_changes import apply
from tests.catalog.test_catalog import HEAD, Folder

pytestmark = [pytest.mark.usefixtures("own_modules"), pytest.mark.slow]

MONEY = """
import decimal, threading
from decimal import Decimal
THREAD = threading.current_thread()
{change}
@workflow(access=anonymous())
def vat(ctx): return str(Decimal("0.125").quantize(Decimal("0.01")))
"""
ROUNDS = "decimal.getcontext().rounding = decimal.ROUND_HALF_UP"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "flows")


def call(folder: Folder, name: str) -> Any:
    """The result of a workflow, in a context of its own as a request has."""
    trigger = folder.catalog.snapshot.triggers[name]

    def request() -> Any:
        apply(trigger.context)
        return trigger.workflow(None)

    return copy_context().run(request)


def in_thread(load: Any) -> None:
    thread = threading.Thread(target=load)
    thread.start()
    thread.join(10)


def test_what_a_module_sets_in_its_context_holds_for_its_runs_after_the_start_and_after_a_change(folder: Folder):
    folder.put("money.py", MONEY.format(change=""))
    assert call(folder, "vat") == "0.12"
    folder.put("money.py", MONEY.format(change=ROUNDS))
    assert call(folder, "vat") == "0.13"
    folder.write("money.py", HEAD + MONEY.format(change=""))
    in_thread(folder.catalog.load)
    assert call(folder, "vat") == "0.12"
    folder.write("other.py", HEAD + MONEY.format(change=ROUNDS).replace("def vat", "def other"))
    in_thread(folder.catalog.load)
    assert call(folder, "other") == "0.13"


def test_a_setting_that_is_added_while_the_server_runs_holds_at_once(folder: Folder):
    folder.put("money.py", MONEY.format(change=""))
    folder.write("money.py", HEAD + MONEY.format(change=ROUNDS))
    in_thread(folder.catalog.load)
    assert call(folder, "vat") == "0.13"
    assert str(Decimal("0.125").quantize(Decimal("0.01"))) == "0.12"  # and reaches nothing else


def test_the_setting_of_a_helper_survives_a_change_of_the_module_that_imports_it(folder: Folder):
    folder.write("_money.py", "import decimal\n" + ROUNDS)
    for _ in range(2):
        folder.put("money.py", MONEY.format(change="import workflows._money\n# " + str(_)))
        assert call(folder, "vat") == "0.13"


def test_what_a_run_changes_in_its_context_does_not_reach_the_next(folder: Folder):
    text = """
    import decimal
    decimal.getcontext().prec = 6
    @workflow(access=anonymous())
    def third(ctx):
        found = str(decimal.Decimal(1) / 3)
        decimal.getcontext().prec = 2
        return found
    """
    folder.put("third.py", text)
    assert [call(folder, "third"), call(folder, "third")] == ["0.333333"] * 2


def test_modules_are_loaded_in_the_main_thread_at_the_start(folder: Folder):
    folder.put("money.py", MONEY.format(change=""))
    function = folder.catalog.snapshot.triggers["vat"].workflow.function
    assert function.__globals__["THREAD"] is threading.main_thread()


def test_a_module_that_catches_the_end_of_its_time_is_given_up_all_the_same(tmp_path: Path):
    folder = Folder(tmp_path / "flows", import_timeout=0.05)
    text = """
    import time
    try:
        while True: time.sleep(0.01)
    except Exception:
        pass
    @workflow(access=anonymous())
    def slow(ctx): return 1
    """
    folder.put("slow.py", text)
    assert ["did not end within" in fault.cause for fault in folder.faults] == [True]


FILES = """
import importlib.resources, inspect, pickle, pkgutil
class Thing: pass
@workflow(access=anonymous())
def reads(ctx):
    return [
        importlib.resources.files(__package__).joinpath("t.json").read_text(),
        importlib.resources.files("workflows.orders").joinpath("t.json").read_text(),
        pkgutil.get_data(__name__, "t.json").decode(),
        type(pickle.loads(pickle.dumps(Thing()))).__name__,
        inspect.getsource(Thing).strip(),
    ]
"""


def test_files_beside_a_module_are_found_by_every_way_of_python(folder: Folder):
    folder.write("orders/t.json", "{}")
    folder.write("t.json", "[]")
    folder.put("orders/__init__.py", FILES)
    assert call(folder, "reads") == ["{}", "{}", "{}", "Thing", "class Thing: pass"]
    folder.put(
        "alone.py",
        """
        import importlib.resources
        @workflow(access=anonymous())
        def alone(ctx): return importlib.resources.files(__package__).joinpath("t.json").read_text()
        """,
    )
    assert call(folder, "alone") == "[]"


@pytest.mark.parametrize(
    ("file", "statement", "fix"),
    [
        ("a.py", "from _helper import X", "Write `from workflows._helper import ...`"),
        ("a.py", "from flows._helper import X", "Write `workflows` in place of `flows`"),
        ("a.py", "import _helper", "Write `from workflows._helper import ...`"),
        ("pack/__init__.py", "from inner import X", "Write `from workflows.pack.inner import ...`"),
        ("pack/__init__.py", "from _helper import X", "Write `from workflows._helper import ...`"),
        ("a.py", "import no_such_thing", "Install 'no_such_thing'"),
    ],
)
def test_an_import_of_a_file_of_the_folder_by_a_wrong_name_gets_the_right_one(folder: Folder, file, statement, fix):
    folder.write("_helper.py", "X = 1")
    folder.write("pack/inner.py", "X = 1")
    folder.put(file, statement + "\n@workflow\ndef f(ctx): ...\n")
    [fault] = folder.faults
    assert fault.fix.startswith(fix)


@pytest.mark.parametrize(
    ("files", "faulty"),
    [
        ({"sub/a.py": "@workflow\ndef f(ctx): ...\n"}, ["a.py"]),
        ({"sub/a.py": "@workflow(access=anonymous())\nasync def f(ctx): ...\n"}, ["a.py"]),
        ({"sub/a.py": "def f(ctx): ...\n"}, []),
        ({"_sub/a.py": "@workflow\ndef f(ctx): ...\n", "sub/_a.py": "@workflow\ndef f(ctx): ...\n"}, []),
        ({"sub/a.py": "@workflow\ndef f(ctx): ...\n", "sub/__init__.py": "from .a import f\n"}, []),
        (
            {
                "sub/a.py": "@workflow\ndef f(ctx): ...\n",
                "sub/__init__.py": "@workflow\ndef g(ctx): ...\n",
            },
            ["a.py"],
        ),
        ({"sub/a.py": "@workflow\ndef f(ctx): ...\n", "sub/__init__.py": "1 / 0\n"}, ["__init__.py"]),
    ],
)
def test_a_workflow_in_a_subfolder_that_is_not_served_is_a_fault(folder: Folder, files, faulty):
    for name, text in files.items():
        folder.write(name, HEAD + text)
    folder.catalog.load()
    assert [fault.file.name for fault in folder.faults] == faulty


@pytest.mark.parametrize("annotation", ["dict", "dict[str, int]", "list", "str", "Body", "Data"])
def test_a_body_in_the_place_of_the_context_is_a_fault(folder: Folder, annotation: str):
    text = f"""
    from dataclasses import dataclass
    from pydantic import BaseModel
    class Body(BaseModel): ...
    @dataclass
    class Data: ...
    @workflow
    async def takes(body: {annotation}): ...
    """
    folder.put("takes.py", text)
    [fault] = folder.faults
    assert "the first parameter of takes() is the Context, not the body" in fault.cause
    assert fault.fix == ""  # the cause says what to do, and no empty sentence follows it


@pytest.mark.parametrize("parameter", ["ctx", "ctx: Context", "ctx: 'Any'", "ctx: object", "ctx: Mine", "ctx: Like"])
def test_other_first_parameters_are_the_context(folder: Folder, parameter: str):
    text = f"""
    from typing import Any, Protocol
    class Mine(Context): ...
    class Like(Protocol): ...
    @workflow
    async def takes({parameter}): ...
    """
    folder.put("takes.py", text)
    assert folder.faults == ()
