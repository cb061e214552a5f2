"""Why a token is accepted or rejected at one workflow, check by check: what `postern explain` and the console show."""

from collections.abc import Iterable
from dataclasses import dataclass

from postern.access import REVOKED, Caller, Check, Guarded, check_scope, checks, default_scope
from postern.identity.id_token import Wanted, rules
from postern.identity.identify import Identity
from postern.identity.token import FORM, RULES

OF_TOKENS = (FORM, *(rule.name for rule in RULES), REVOKED)
"""The checks of every token by their names, in order. Those of the policy follow."""
OF_ID_TOKENS = (FORM, *(rule.name for rule in rules(Wanted("", "", ""))))
"""Those of every ID token."""
OF_HEADERS = ("credentials", "authorization-header")
"""The checks that come before a token is read."""
KEY_PUBLISHED = "key-published"

_ADVICE = {rule.name: rule.advice for rule in RULES if rule.advice}


@dataclass(frozen=True, slots=True)
class Explained:
    """Every check that was made of a token, in order, also after the first failure. `caller` is None if a check of the
    token itself failed. `keys_error` says why the tenant's signing keys are not available, if that is the reason."""

    checks: tuple[Check, ...]
    caller: Caller | None
    keys_error: str = ""

    @property
    def failed(self) -> Check | None:
        """The first check that failed."""
        return first_failed(self.checks)


async def explained(identity: Identity, token: str, policy: Guarded, *, mcp_scope: str = "") -> Explained:
    """The checks of the token, and those of the policy if it is valid. Nothing is stored. `mcp_scope` is the scope of
    tokens for `/mcp` only, "" if the question is not whether this is one."""
    found, caller = await identity.examine(token)
    if caller is not None:
        found += [check_scope(caller, mcp_scope)] if mcp_scope else []
        found += checks(policy, caller)
    made = tuple(found)
    failed = first_failed(made)
    keys = failed is not None and failed.name == KEY_PUBLISHED
    return Explained(made, caller, "; ".join(identity.errors.values()) if keys else "")


def given_token(text: str) -> str:
    """The token in a text as it is copied: with the scheme before it, or white space around it."""
    text = text.strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


def first_failed(made: Iterable[Check]) -> Check | None:
    """The first check that failed."""
    return next((check for check in made if not check.passed), None)


def not_made(made: Iterable[Check], policy: Guarded | None, *, id_token: bool = False) -> tuple[str, ...]:
    """The checks that were not made, because one before them failed: by their names, in order. `policy` is that of the
    workflow, None if it is not known. With `id_token`, they are those of a person who signs in."""
    names = [check.name for check in made]
    of_token = OF_ID_TOKENS if id_token else OF_TOKENS
    if not {*names} & {*OF_HEADERS, *of_token}:
        return ()
    requirements = [requirement.name for requirement in policy.requirements] if policy is not None else []
    return tuple(name for name in (*of_token, *requirements) if name not in names)


def advice_of(check: Check) -> str:
    """How to fix a failed check: a sentence without its full stop. "" if the check says nothing."""
    return (check.hint or check.advice or _ADVICE.get(check.name, "")).rstrip(".")


ABOUT_SCOPES = frozenset(
    {*OF_HEADERS, FORM, KEY_PUBLISHED, "signature", "audience-form", "expiry", "access-token", "audience", "scope"}
)
"""The checks that may pass with another token, which is requested with the right scope."""


def scopes_to_request(policy: Guarded) -> list[str]:
    """The scopes of which a caller requests one, to get a token for this workflow."""
    return [default_scope(audience) for audience in sorted(policy.audiences)]
