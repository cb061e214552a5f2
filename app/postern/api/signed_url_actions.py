"""What operators do with signed URLs: make one, list them, revoke one. `/workflows/{name}/signed-urls` and the console
share it, so access, the audit log and the lines in the log are the same. No list has a signature."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import structlog
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from structlog.typing import FilteringBoundLogger

from postern.access import Caller, Signed
from postern.api.run_actions import Read, Write
from postern.catalog import Snapshot, Trigger
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal import signed_urls
from postern.journal.run import actor
from postern.journal.shares import Holder
from postern.journal.signed_urls import MOST_LISTED, SignedUrl
from postern.security.signed_urls.url import ID, Terms, fixable, presented, sign
from postern.triggers.find import find

DAY = 86400
DEFAULT_SECONDS = 30 * DAY
LONGEST_SECONDS = 3650 * DAY
MOST_FIXED = 20
_TIME = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"


class Wish(BaseModel):
    """What a signed URL shall allow, as an operator writes it. Without `expires_in`, `expires_at` and `no_expiry` it
    expires after 30 days."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key: Literal["primary", "secondary"] = "primary"
    id: Annotated[StrictStr, Field(pattern=f"^{ID.pattern}$", max_length=64)] | None = None
    expires_in: Annotated[StrictInt, Field(ge=1, le=LONGEST_SECONDS)] | None = None
    expires_at: Annotated[StrictStr, Field(pattern=f"^{_TIME}$")] | None = None
    no_expiry: StrictBool = False
    path: Annotated[StrictStr, Field(max_length=1000)] | None = None
    with_: Annotated[dict[StrictStr, StrictStr], Field(alias="with", max_length=MOST_FIXED)] = {}


class Made(NamedTuple):
    """A new signed URL, which is shown once, and its row."""

    url: str
    row: SignedUrl

    def __repr__(self) -> str:
        return f"Made({self.row!r})"


class ToSign(Protocol):
    """Returns the key with this name of a workflow. Raises Problem `signing-key-unavailable`."""

    def __call__(self, workflow: str, key: Literal["primary", "secondary"], /) -> Awaitable[bytes]: ...


class Note(Protocol):
    """Notes that a signed URL was made or revoked in the audit log."""

    def __call__(self, row: SignedUrl, by: Caller, /) -> None: ...


def _note_nothing(_: SignedUrl, __: Caller) -> None: ...


@dataclass(frozen=True, slots=True)
class SignedUrlActions:
    """`read` and `write` are the journal's. `changed` is told of each URL that was revoked, `made` and `revoked` are
    the audit log's. `address` is where callers reach the triggers. `now` is the time in Unix seconds."""

    read: Read
    write: Write
    snapshot: Callable[[], Snapshot]
    key: ToSign
    address: str
    changed: Callable[[str, str], None] = lambda _workflow, _id: None
    made: Note = _note_nothing
    revoked: Note = _note_nothing
    log: FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("postern"))
    now: Callable[[], float] = time.time

    @property
    def workflows(self) -> list[str]:
        """The workflows that take signed URLs."""
        return [name for name, trigger in sorted(self.snapshot().triggers.items()) if takes_signed_urls(trigger)]

    async def make(self, workflow: str, wish: Wish, by: Caller) -> Made:
        """Sign a URL and record it. Raises Problem."""
        trigger = self.snapshot().triggers.get(workflow)
        if trigger is None:
            raise problem("not-found", detail="There is no such workflow.")
        if not takes_signed_urls(trigger):
            raise problem("workflow-not-signed")
        terms = self._terms(trigger, wish)
        signed = sign(await self.key(workflow, wish.key), terms, trigger.workflow.path)
        at = signed.path.removeprefix(f"/triggers/{workflow}")
        if presented(signed.query.encode(), workflow, at) is None:
            raise _invalid("with", "must have names and values that are not too long together")
        expires_at = None if terms.expires_at is None else float(terms.expires_at)
        names = tuple(name for name, _ in terms.fixed)
        row = SignedUrl(workflow, terms.id, wish.key, wish.path, names, actor(by), self.now(), expires_at)
        if not await self.write(partial(signed_urls.make, made=row)):
            raise problem("link-exists")
        self.changed(workflow, row.id)
        self.made(row, by)
        self.log.info("signed-url-made", workflow=workflow, link=row.id, key=row.key, by=by.object_id)
        return Made(f"{self.address}{signed.path}?{signed.query}", row)

    async def listed(self, workflow: str, holder: Holder, after: tuple[str, str] | None = None) -> list[SignedUrl]:
        """At most MOST_LISTED URLs of a workflow, or of all with "", from the one after `after` on."""
        return await self.read(partial(signed_urls.listed, workflow=workflow, limit=MOST_LISTED, after=after), holder)

    async def revoke(self, workflow: str, id: str, by: Caller) -> SignedUrl:  # noqa: A002 the column's name
        """Revoke it. Raises Problem `not-found`. The workflow may be gone."""
        now = self.now()
        row = await self.write(partial(signed_urls.revoke, workflow=workflow, id=id, by=actor(by), now=now))
        if row is None:
            raise problem("not-found", detail="The workflow has no signed URL of this id.")
        self.changed(workflow, id)
        if row.revoked_at == now:  # else it was revoked before
            self.revoked(row, by)
            self.log.info("signed-url-revoked", workflow=workflow, link=id, by=by.object_id)
        return row

    def _terms(self, trigger: Trigger, wish: Wish) -> Terms:
        workflow = trigger.workflow
        for name in wish.with_:
            if not fixable(name):
                raise _invalid("with", f"cannot have the name {name}: each signed URL has it")
        if wish.path is not None:
            _check_path(trigger, wish.path)
        return Terms(
            workflow.name,
            workflow.methods,
            wish.id or new_id().replace("-", "")[-12:],
            wish.path,
            self._expiry(wish),
            tuple(wish.with_.items()),
        )

    def _expiry(self, wish: Wish) -> int | None:
        given = [name for name in ("expires_in", "expires_at") if getattr(wish, name) is not None]
        if len(given) + wish.no_expiry > 1:
            raise _invalid(given[0], "is one of three: give expires_in, expires_at or no_expiry")
        if wish.no_expiry:
            return None
        now = int(self.now())
        if wish.expires_at is None:
            return now + (wish.expires_in or DEFAULT_SECONDS)
        try:
            moment = int(datetime.fromisoformat(wish.expires_at.upper()).astimezone(UTC).timestamp())
        except (ValueError, OverflowError):
            raise _invalid("expires_at", "is not a time") from None
        if not now < moment <= now + LONGEST_SECONDS:
            raise _invalid("expires_at", "is not within the next 10 years")
        return moment


def wish_of(content: Any) -> Wish:
    """The wish in a request. Raises Problem `invalid-body`, with what is wrong and without values."""
    try:
        return Wish.model_validate_json(content) if isinstance(content, bytes) else Wish.model_validate(content)
    except ValidationError as invalid:
        errors = [
            {"where": ".".join(map(str, each["loc"][:1])), "message": each["msg"]}
            for each in invalid.errors(include_input=False, include_url=False, include_context=False)
        ]
    raise problem("invalid-body", detail="The body does not describe a signed URL.", errors=errors)


def takes_signed_urls(trigger: Trigger) -> bool:
    """Whether requests for it come by signed URLs."""
    return isinstance(trigger.policy, Signed) and trigger.policy.url


def state_of(row: SignedUrl, now: float) -> Literal["active", "revoked", "expired"]:
    """What becomes of a request with it."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and now >= row.expires_at else "active"


def by_of(text: str | None) -> dict[str, Any] | None:
    """Who made or revoked it."""
    return None if text is None else json.loads(text)


def _check_path(trigger: Trigger, path: str) -> None:
    """Raise Problem if the workflow has no such URL. The path is compared as it is sent, so it is written that way."""
    workflow = trigger.workflow
    try:
        found = find({workflow.name: trigger}, workflow.methods[0], f"/triggers/{workflow.name}{path}".encode("ascii"))
    except (Problem, UnicodeEncodeError):
        found = None
    if found is None or "?" in path or "#" in path:
        where = f"{workflow.path}, with percent-encoding" if workflow.path else "left out: the workflow has one URL"
        raise _invalid("path", f"must be {where}")


def _invalid(where: str, message: str) -> Problem:
    errors = [{"where": where, "message": message}]
    return problem("invalid-body", detail="The body does not describe a signed URL.", errors=errors)
