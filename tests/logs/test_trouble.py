"""A line for each kind of error, until it works again."""

from postern.logs import Trouble


def test_an_error_that_lasts_is_said_once_and_another_one_or_the_same_later_again():
    lines: list[tuple[str, str]] = []
    trouble = Trouble(lambda event, cause: lines.append((event, cause)), "not-seen")
    assert not trouble.lasts
    for error in (OSError("password"), OSError(), ValueError()):
        trouble.say(error)
    assert trouble.lasts
    trouble.over()
    assert not trouble.lasts
    trouble.say(ValueError())
    assert lines == [("not-seen", cause) for cause in ("OSError", "ValueError", "ValueError")]
