"""The checks of a token or caller as rows of a page. Pure. No row has a token: the checks hold none, and what looks
like one is left out."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from postern.access import Caller, Check, Guarded, default_scope
from postern.console.check_words import CHECKS, about
from postern.identity.explained import ABOUT_SCOPES, OF_TOKENS, advice_of, first_failed, not_made
from postern.plain_text import plain
from postern.redaction import without_tokens

BY_OBJECT_ID = frozenset({"tenant-allowed", "listed"})
"""Requirements that the tenant and the object id decide. All others depend on the token."""


class Outcome(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    ALSO_FAILED = "also failed"
    NOT_MADE = "not made"
    DEPENDS = "depends on the token"


class CheckRow(NamedTuple):
    """One check. `ask` says what to do about a failed one, in one or more sentences."""

    name: str
    about: str
    outcome: Outcome
    expected: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    ask: str = ""


def rows_of(made: Iterable[Check], policy: Guarded | None, *, id_token: bool = False) -> list[CheckRow]:
    """The checks that were made, in order, then those that were not. `policy` is that of the workflow, None if it is
    not known. With `id_token`, the token is that of a person who signs in."""
    made = list(made)
    first = first_failed(made)
    rows = [_row(check, check is first) for check in made]
    if first is not None:
        rows += [CheckRow(name, about(name), Outcome.NOT_MADE) for name in not_made(made, policy, id_token=id_token)]
    return rows


def rows_of_person(policy: Guarded, tenant_id: str, object_id: str) -> list[CheckRow]:
    """What is known of a person by the object id alone: the requirements of the policy, without a token."""
    caller = Caller("user", object_id=object_id, tenant_id=tenant_id)
    made = [requirement.check(caller) for requirement in policy.requirements]
    first = first_failed(check for check in made if check.name in BY_OBJECT_ID)
    return [
        _row(check, check is first)
        if check.name in BY_OBJECT_ID
        else CheckRow(check.name, about(check.name), Outcome.DEPENDS, texts(check.expected))
        for check in made
    ]


def failed_row(rows: Iterable[CheckRow]) -> CheckRow | None:
    """The row of the first failed check."""
    return next((row for row in rows if row.outcome is Outcome.FAILED), None)


def scope_to_ask_for(failed: CheckRow | None, policy: Guarded | None, audiences: Sequence[str]) -> str:
    """The scope that a caller requests to pass this check; "" if another token would change nothing. Of several it is
    that of the first of the installation's `audiences`."""
    if failed is None or policy is None or failed.name not in ABOUT_SCOPES:
        return ""
    own = [audience for audience in audiences if audience in policy.audiences]
    return default_scope((own or sorted(policy.audiences))[0])


def texts(value: Any) -> tuple[str, ...]:
    """What a check expected or found, one text for each of several values."""
    if value is None or value == "":
        return ()
    if isinstance(value, frozenset | set | tuple | list):
        several = sorted(map(str, value))
    else:
        several = _recorded_list(str(value))
    return tuple(plain(without_tokens(each)) for each in several)


def _recorded_list(text: str) -> list[str]:
    """The values of a list as a record has it: `['a', 'b']`, cut at its end if it is long."""
    return text[2:].removesuffix("']").split("', '") if text.startswith("['") else [text]


def _row(check: Check, first: bool) -> CheckRow:
    failed = Outcome.FAILED if first else Outcome.ALSO_FAILED
    outcome = Outcome.PASSED if check.passed else failed
    ask = _ask(check) if first else ""
    return CheckRow(plain(check.name), about(check.name), outcome, texts(check.expected), texts(check.found), ask)


def _ask(check: Check) -> str:
    """What the check itself says about this caller, and what to do about such a failure. The rules of tokens say the
    same to each caller, so the table's words replace theirs."""
    known = CHECKS[check.name].ask if check.name in CHECKS else ""
    said = check.hint if known and check.name in OF_TOKENS else advice_of(check)
    return " ".join(f"{plain(without_tokens(part)).rstrip('.')}." for part in (said, known) if part)
