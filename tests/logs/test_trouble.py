"""A line for each kind of error, until it works again."""

import asyncio

import pytest

from postern.logs import Trouble


def test_an_error_that_lasts_is_said_once_and_another_one_or_the_same_later_again():
    lines: list[tuple[str, str]] = []
    trouble = Trouble(lambda event, cause: lines.append((event, cause)), "not-seen")
    assert not trouble.lasts
    for error in (OSError("password"), OSError(), ValueError()):
        with trouble.attempt():
            raise error
        assert trouble.lasts
    with trouble.attempt():
        pass
    assert not trouble.lasts
    with trouble.attempt():
        raise ValueError
    assert lines == [("not-seen", cause) for cause in ("OSError", "ValueError", "ValueError")]


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_a_task_or_the_process_is_no_failed_attempt(end: type[BaseException]):
    trouble = Trouble(lambda *_, **__: pytest.fail("it was logged"), "not-seen")
    with pytest.raises(end), trouble.attempt():
        raise end
    assert not trouble.lasts
