"""The check of a request with a signed URL, in the place of the token of other requests."""

import hmac
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from postern.access import Caller, Check, Refused
from postern.catalog import Trigger
from postern.errors import problem
from postern.security.signed_urls.keys import KEY_NAMES, Keys, UrlKeys
from postern.security.signed_urls.links import Links
from postern.security.signed_urls.url import Presented, has_signature, presented, signature, withheld

Scope = MutableMapping[str, Any]

LINK = "link "
"""What the name of a caller begins with who has a signed URL. The id of the URL follows."""

INSECURE_DETAIL = "Signed URLs are accepted over https only."


def caller_of(link: str) -> Caller:
    """The caller of a request with the signed URL of this id."""
    return Caller("anonymous", name=LINK + link)


@dataclass(frozen=True, slots=True)
class SignedUrls:
    """Checks signed URLs. `unsafe` returns why others on the network could have read a request, "" if none could.
    `add_header` adds a header to the response, whatever it will be."""

    keys: UrlKeys
    links: Links
    unsafe: Callable[[Scope], str]
    add_header: Callable[[Scope, bytes, bytes], None]
    now: Callable[[], float] = time.time

    async def sender(self, trigger: Trigger, scope: Scope) -> Caller:
        """The caller of a request for a trigger with signed URLs. Raises Refused, and Problem if it cannot be checked.
        Whatever comes of it, nothing after this sees the signature."""
        query: bytes = scope["query_string"]
        scope["query_string"] = withheld(query)
        self.add_header(scope, b"referrer-policy", b"no-referrer")
        workflow = trigger.workflow
        if not has_signature(query):
            raise refused("link-missing", "a signed URL", "a URL without sig")
        if any(name == b"authorization" for name, _ in scope["headers"]):
            raise refused("link-and-token", "a signed URL alone", "a signed URL and an Authorization header")
        if reason := self.unsafe(scope):
            raise problem(
                "insecure-transport",
                reason=reason,
                detail=INSECURE_DETAIL,
                headers={"WWW-Authenticate": "Signed-URL"},
            )
        path = scope["raw_path"].decode("ascii").removeprefix(f"/triggers/{workflow.name}")
        given = presented(query, workflow.name, path)
        if given is None:
            raise refused("link-form", "the query byte for byte as it was printed", "another query")
        await self._check_signature(given)
        terms = given.terms
        passed = [Check("link-signature", True)]
        row = await self.links.find(terms.workflow, terms.id)
        if row is None or row.expires_at != terms.expires_at:
            raise refused("link-unknown", "a link that this server made", terms.id, passed)
        if row.revoked_at is not None:
            raise refused("link-revoked", "a link that is not revoked", terms.id, passed)
        if terms.expires_at is not None and self.now() >= terms.expires_at:
            raise refused("link-expired", "a link that has not expired", terms.id, passed)
        if not _for_method(terms.methods, scope["method"]):
            raise refused("link-method", ", ".join(terms.methods), scope["method"], passed)
        self.links.note_use(terms.workflow, terms.id)
        return caller_of(terms.id)

    async def still(self, trigger: Trigger, caller: Caller) -> None:
        """Raise Refused if the link of this caller was revoked while the body of the request arrived."""
        link = caller.name.removeprefix(LINK)
        row = await self.links.find(trigger.workflow.name, link)
        if row is None or row.revoked_at is not None:
            raise refused("link-revoked", "a link that is not revoked", link, [Check("link-signature", True)])

    async def _check_signature(self, given: Presented) -> None:
        """Raise Refused if the signature is of neither key, and Problem if that cannot be said. Both are compared each
        time. A key that does not fit is read again, a bounded number of times: it may have been replaced."""
        keys = await self.keys.of(given.terms.workflow)
        if self._fits(given, keys):
            return
        keys = await self.keys.again(given.terms.workflow)
        if self._fits(given, keys):
            return
        if keys.problem is not None:
            raise problem(
                "identity-unavailable", reason=keys.problem.reason, detail=UNAVAILABLE, headers={"Retry-After": "5"}
            )
        if not keys.found:
            raise problem(
                "identity-unavailable",
                reason=f"the Key Vault has neither key of the workflow {given.terms.workflow}",
                detail=UNAVAILABLE,
                headers={"Retry-After": "5"},
            )
        raise refused("link-signature", "a signature with a key of this workflow", given.terms.id)

    def _fits(self, given: Presented, keys: Keys) -> bool:
        fits = False
        for name in KEY_NAMES:
            found = keys.found.get(name)
            made = signature(found if found is not None else self.keys.dummy, given.terms)
            same = hmac.compare_digest(made, given.signature)
            fits |= same and found is not None
        return fits


UNAVAILABLE = "The keys of signed URLs cannot be read at the moment."


def refused(name: str, expected: str, found: str, passed: list[Check] | None = None) -> Refused:
    """The rejection of a request whose URL is not accepted. Its caller is told one constant sentence."""
    return Refused([*(passed or ()), Check(name, False, expected, found)])


def _for_method(methods: tuple[str, ...], method: str) -> bool:
    return method in methods or (method == "HEAD" and "GET" in methods)
