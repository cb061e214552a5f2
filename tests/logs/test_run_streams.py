"""What the code of runs prints: with the run's id in the log, kept with the run, and everything else as it was."""

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from threading import Thread, Timer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.logs import BEGUN, Said, author_log, finish_lines, flush_logs, run_streams, taking
from postern.logs.run_streams import HIDDEN, LAST_PART, MOST_BEGUN, MOST_UNFINISHED, RunStream
from postern.trace import RUN, SECURED
from tests.logs.in_memory import Log, logs_restored

SECRET = "hunter2-of-the-vault"


@pytest.fixture
def restored_logs() -> Iterator[None]:
    with logs_restored():
        yield


class Heard:
    """A process in miniature: its streams, its log, and what is kept of runs. pytest has other streams in each phase of
    a test, so the process has its own only while code runs."""

    def __init__(self, form: str = "json") -> None:
        self.out: Any = io.StringIO()
        self.err: Any = io.StringIO()
        self.log = Log(form)
        self.kept: list[tuple[str, Said]] = []

    @contextmanager
    def streams(self) -> Iterator[None]:
        """The process's own streams."""
        root = logging.getLogger()
        root.handlers = [each for each in root.handlers if "postern" in type(each).__module__]
        with redirect_stdout(self.out), redirect_stderr(self.err), run_streams():
            with taking(lambda run_id, said: self.kept.append((run_id, said))):
                yield
            flush_logs()

    def run(self, code: Any, run_id: str = "run-0001", *, secured: bool = False, ends: bool = True) -> None:
        """Run the code as that of a run."""

        def as_run() -> None:
            RUN.set((run_id, None))
            SECURED.set(secured)
            code()

        with self.streams():
            copy_context().run(as_run)
            if ends:
                finish_lines(run_id)

    @property
    def texts(self) -> list[str]:
        """What is kept."""
        return [said.text for _, said in self.kept]

    @property
    def hidden(self) -> int:
        """How many lines are only counted."""
        return sum(said.hidden for _, said in self.kept)


@pytest.fixture
def heard(request: pytest.FixtureRequest, restored_logs: None) -> Iterator[Heard]:
    yield Heard(getattr(request, "param", "json"))
    assert not BEGUN


def test_what_is_printed_outside_of_runs_goes_where_it_went(heard: Heard):
    with heard.streams():
        print("loading", 1, end="…")
        print("trouble", file=sys.stderr)
    assert (heard.out.getvalue(), heard.err.getvalue(), heard.log.text, heard.kept) == (
        "loading 1…",
        "trouble\n",
        "",
        [],
    )


def test_each_line_of_a_run_is_an_event_with_its_id_and_is_kept_with_the_run(heard: Heard):
    def code() -> None:
        print("one", 2)
        print("a\nb\n", file=sys.stderr)
        sys.stdout.writelines(["x", "y\n"])

    heard.run(code)
    assert [(line["event"], line["logger"], line["run_id"]) for line in heard.log.lines] == [
        (text, source, "run-0001")
        for text, source in (("one 2", "stdout"), ("a", "stderr"), ("b", "stderr"), ("", "stderr"), ("xy", "stdout"))
    ]
    assert heard.texts == ["one 2", "a\nb", "", "xy"]
    assert {run_id for run_id, _ in heard.kept} == {"run-0001"}
    assert heard.out.getvalue() == heard.err.getvalue() == ""


@pytest.mark.parametrize("heard", ["console"], indirect=True)
def test_on_a_terminal_lines_stand_behind_the_end_of_the_runs_id(heard: Heard):
    heard.run(lambda: print("booked\n3 seats"), "run-of-ada-4f2a")
    assert heard.out.getvalue() == "[4f2a] booked\n[4f2a] 3 seats\n"
    assert heard.log.text == ""


def test_a_line_without_an_end_is_complete_when_its_run_ends_and_lines_of_runs_do_not_mix(heard: Heard):
    heard.run(lambda: print("of one ", end=""), "run-1", ends=False)
    heard.run(lambda: print("of two", end=""), "run-2", ends=False)
    heard.run(lambda: print("goes on"), "run-1")
    assert heard.texts == ["of one goes on"]
    heard.run(lambda: None, "run-2")
    assert heard.texts == ["of one goes on", "of two"]
    heard.run(lambda: None, "run-2")
    assert len(heard.kept) == 2


def test_neither_long_lines_nor_many_beginnings_fill_the_memory(heard: Heard):
    heard.run(lambda: [print("x" * MOST_UNFINISHED, end="") for _ in range(3)], ends=False)
    assert [len(each) for each in heard.texts] == [2 * MOST_UNFINISHED - LAST_PART, MOST_UNFINISHED]
    BEGUN.clear()
    for number in range(MOST_BEGUN + 5):
        heard.run(lambda: print("begun", end=""), f"run-{number}", ends=False)
    assert len(BEGUN) == MOST_BEGUN
    BEGUN.clear()


@pytest.mark.parametrize(
    "parts", [("password=", SECRET), (f"password={SECRET[:5]}", SECRET[5:]), ("pass", f"word={SECRET}")]
)
@pytest.mark.parametrize("before", [MOST_UNFINISHED - 3, MOST_UNFINISHED + 3])
def test_a_secret_is_found_in_a_long_line_that_is_printed_in_parts(heard: Heard, parts: tuple[str, str], before: int):
    def printing() -> None:
        print("x" * (before - len(parts[0])), end=" ")
        print(parts[0], end="")
        print(parts[1])

    heard.run(printing)
    assert SECRET[5:] not in "".join(heard.texts) + heard.log.text + heard.out.getvalue()
    assert heard.texts[-1].endswith("password=[redacted]")


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (f"password={SECRET}", "password=[redacted]"),
        (f'{{"client_secret": "{SECRET}"}}', '{"client_secret": [redacted]}'),
        (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----", "[redacted]"),
        ("\x1b[2Jgone \u202e", "\\x1b[2Jgone \\u202e"),
        ("10%\r55%\r100%\r", "100%"),
        ("a\tb\r", "a\tb"),
        ("", ""),
    ],
)
def test_no_secret_and_no_control_character_is_logged_or_kept(heard: Heard, printed: str, kept: str):
    heard.run(lambda: print(printed))
    assert heard.texts == [kept]
    assert SECRET not in heard.log.text


@pytest.mark.parametrize("heard", ["json", "console"], indirect=True)
def test_of_a_secured_workflow_lines_are_only_counted(heard: Heard):
    def code() -> None:
        print(SECRET, "\n", SECRET)
        print(SECRET, file=sys.stderr, end="")
        logging.getLogger("of an author").warning("%s", SECRET)
        logging.getLogger("of an author").debug("not a line")
        logging.getLogger("of an author").error(SECRET, exc_info=ValueError(SECRET))
        author_log("postern").info("announced", seats=3)

    heard.run(code, secured=True)
    assert (heard.hidden, "".join(heard.texts)) == (6, "")
    everything = heard.out.getvalue() + heard.err.getvalue() + heard.log.text + repr(heard.kept)
    assert SECRET not in everything
    assert "announced" in heard.log.text  # what is logged by ctx.log is meant for the log
    assert (HIDDEN in everything) is (heard.out.getvalue() != "")


def says_it() -> None:
    """What the code of an author does, wherever it runs."""
    print(SECRET)
    logging.getLogger("of an author").warning("%s", SECRET)


def fails_with_it() -> None:
    """Its traceback is printed by Python."""
    raise ValueError(SECRET)


class OwnThread(Thread):
    """A thread with code of its own."""

    def run(self) -> None:
        """Say it."""
        says_it()


def joined(thread: Thread) -> None:
    """Start it, and wait for its end."""
    thread.start()
    thread.join()


def of_a_pool() -> None:
    """A pool that the run makes, with another thread inside."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(says_it).result()
        list(pool.map(lambda _: joined(Thread(target=says_it)), "a"))


async def in_an_executor() -> None:
    """The executor of an event loop does not pass the context on by itself."""
    await asyncio.get_running_loop().run_in_executor(None, says_it)


def in_a_thread_of_a_thread() -> None:
    """Start one in another one."""
    joined(Thread(target=lambda: joined(Thread(target=says_it))))


def by_bytes() -> None:
    """Each way to the bytes of a stream."""
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        stream.buffer.write(f"{SECRET}\n".encode())
        stream.buffer.writelines([bytearray(SECRET.encode()), memoryview(b"\n")])
        stream.buffer.raw.write(f"{SECRET}\n".encode())
        with io.TextIOWrapper(stream.detach(), "utf-8") as text:
            text.write(f"{SECRET}\n")


ELSEWHERE: dict[str, tuple[Any, int]] = {
    "a thread": (lambda: joined(Thread(target=says_it)), 2),
    "a class of threads": (lambda: joined(OwnThread()), 2),
    "a timer": (lambda: joined(Timer(0, says_it)), 2),
    "a thread of a thread": (in_a_thread_of_a_thread, 2),
    "a pool": (of_a_pool, 4),
    "an executor of a loop": (lambda: asyncio.run(in_an_executor()), 2),
    "a thread that fails": (lambda: joined(Thread(target=fails_with_it)), 0),
    "bytes": (by_bytes, 8),
}
"""Ways to say something elsewhere than in the run's own task, and how many lines each says; 0 for some."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("way", ELSEWHERE)
@pytest.mark.parametrize("secured", [True, False])
def test_what_a_run_says_elsewhere_is_its_own(way: str, secured: bool, restored_logs: None, monkeypatch: Any):
    monkeypatch.setattr("threading.excepthook", threading.__excepthook__)  # pytest has one of its own
    code, lines = ELSEWHERE[way]
    heard = Heard()
    heard.out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    heard.err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    heard.run(code, secured=secured)
    passed_on = heard.out.buffer.getvalue() + heard.err.buffer.getvalue()
    assert passed_on == b""
    said = heard.hidden if secured else sum(text.count(SECRET) for text in heard.texts)
    assert said == lines or (not lines and said)
    assert {run_id for run_id, _ in heard.kept} == {"run-0001"}
    assert (SECRET in heard.log.text) is not secured


def test_a_pool_that_serves_many_runs_belongs_to_none_of_them(heard: Heard):
    with ThreadPoolExecutor(1) as pool:
        for run_id, secured in (("run-0001", False), ("run-0002", True), ("run-0003", False)):
            heard.run(lambda: pool.submit(print, "mine").result(), run_id, secured=secured)
        with heard.streams():
            pool.submit(print, "of no run").result()
    assert [(run_id, said.text, said.hidden) for run_id, said in heard.kept] == [
        ("run-0001", "mine", 0), ("run-0002", "", 1), ("run-0003", "mine", 0)
    ]  # fmt: skip
    assert heard.out.getvalue() == "of no run\n"


def test_bytes_that_are_no_text_and_bytes_of_no_run(heard: Heard):
    heard.out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    heard.run(lambda: sys.stdout.buffer.write(b"a\xff\n"))
    assert heard.texts == ["a\ufffd"]
    with heard.streams():
        assert sys.stdout.buffer.write(b"a\xff\n") == 3
    assert heard.out.buffer.getvalue() == b"a\xff\n"


def test_threads_are_pythons_own_again_when_nothing_is_divided(heard: Heard):
    def modules() -> tuple[str, str]:
        return Thread.start.__module__, ThreadPoolExecutor.submit.__module__

    with heard.streams():
        assert set(modules()) == {"postern.logs.run_threads"}
    assert modules() == ("threading", "concurrent.futures.thread") or isinstance(sys.stdout, RunStream)


def test_what_validators_of_a_secured_workflow_say_is_nowhere(heard: Heard):
    """Their run has not begun: there is none to count the lines for."""

    def validates() -> None:
        SECURED.set(True)
        print(SECRET)
        logging.getLogger("of an author").warning(SECRET)

    with heard.streams():
        copy_context().run(validates)
    assert (heard.out.getvalue(), heard.log.text, heard.kept) == ("", "", [])


def test_log_lines_of_authors_are_kept_from_level_info_on_with_their_level_and_logger(heard: Heard):
    mine = logging.getLogger("of.an.author")
    mine.setLevel(logging.DEBUG)

    def code() -> None:
        mine.debug("not kept")
        mine.info("%d seats, token=%s", 3, SECRET)
        author_log("postern").bind(workflow="book", run_id="run-0001").info("booked", seats=3, by="Ada Okafor")
        author_log("postern").debug("not logged at all")

    heard.run(code)
    mine.setLevel(logging.NOTSET)
    assert [(said.source, said.level, said.logger, said.text) for _, said in heard.kept] == [
        ("log", "info", "of.an.author", "3 seats, token=[redacted]"),
        ("log", "info", "postern", "booked seats=3 by='Ada Okafor'"),
    ]
    assert [line["event"] for line in heard.log.lines] == ["not kept", "3 seats, token=[redacted]", "booked"]


def test_a_traceback_is_kept_without_secrets_and_local_variables(heard: Heard):
    def code() -> None:
        held = SECRET

        def fails() -> None:
            raise LookupError(f"password={held}")

        try:
            fails()
        except LookupError:
            logging.getLogger("of an author").exception("failed")

    heard.run(code)
    [text] = heard.texts
    assert text.startswith("failed\nTraceback (most recent call last):\n")
    assert text.endswith("\nLookupError: password=[redacted]")
    assert SECRET not in text + heard.log.text


def test_what_fails_while_a_line_is_logged_or_kept_harms_nothing(heard: Heard):
    class Fails:
        def __str__(self) -> str:
            raise LookupError

        __repr__ = __str__

    def fails(run_id: str, said: Said) -> None:
        raise LookupError(run_id)

    def code() -> None:
        logging.getLogger("of an author").info("%s", Fails())
        logging.getLogger("of an author").info("%d %d", *[1])
        print("printed")

    with taking(fails):
        heard.run(code)
    assert heard.texts[-2:] == ["%d %d", "printed"]


def test_the_streams_are_those_of_the_process_but_for_what_is_written(heard: Heard):
    with heard.streams():
        assert (sys.stdout.isatty(), sys.stdout.writable()) == (False, True)
        with run_streams():
            print("once")
        print("twice")
    assert heard.out.getvalue() == "once\ntwice\n"


@given(st.lists(st.text(alphabet="ab\n", max_size=8), max_size=12))
def test_however_a_text_is_written_its_lines_are_the_same(parts: list[str]):
    with logs_restored():
        heard = Heard()
        heard.run(lambda: [sys.stdout.write(part) for part in parts])
    whole = "".join(parts)
    expected = whole.removesuffix("\n").split("\n") if whole else []
    assert [text for said in heard.texts for text in said.split("\n")] == expected
    assert [json.loads(each)["event"] for each in heard.log.text.splitlines()] == expected
