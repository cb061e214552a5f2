"""Signatures of senders: the check of a request's body, with secrets of the Key Vault."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from postern.access import Caller, Signed
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.catalog import Trigger
from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import VaultUnavailable
from postern.errors import problem
from postern.security.sender_signatures.check import SecretUnread, SenderCheck, SenderSecrets, sender
from postern.triggers.secure_transport import Scope

OfUrl = Callable[[Trigger, Scope], Awaitable[Caller]]
OfBody = Callable[[Trigger, Caller, Scope, bytes], Awaitable[None]]
Still = Callable[[Trigger, Caller], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendersPart(Part):
    """What requests of signing senders pass: two functions of the Gate."""

    check: SenderCheck

    def body(self, still: Still) -> OfBody:
        """The check when the body has arrived: of its signature, or by `still` that a signed URL is not revoked."""

        async def checked(trigger: Trigger, caller: Caller, scope: Scope, body: bytes) -> None:
            policy = trigger.policy
            if isinstance(policy, Signed) and policy.by is not None:
                await self.check.check(policy.by, scope["headers"], body)
            else:
                await still(trigger, caller)

        return checked

    def sender(self, of_url: OfUrl | None) -> OfUrl:
        """The caller of a signed request. `of_url` returns that of a signed URL; without it nobody is let in by one."""

        async def found(trigger: Trigger, scope: Scope) -> Caller:
            policy = trigger.policy
            if isinstance(policy, Signed) and policy.by is not None:
                return sender(policy.by)
            if of_url is None:
                raise problem("identity-unavailable", reason="nothing checks signed URLs here")
            return await of_url(trigger, scope)

        return found


@contextmanager
def _own_words() -> Iterator[None]:
    """Turn the fault of a secret into the error that the check knows."""
    try:
        yield
    except ConnectionFault as fault:
        raise SecretUnread(str(fault), missing=not isinstance(fault, VaultUnavailable)) from None


def senders_part(base: Foundation) -> SendersPart:
    """`missing_secrets` learns which secrets the vault does not have while the server runs."""
    vault = base.connections.connections.vault

    async def read(name: str) -> str:
        with _own_words():
            return await vault.secret(name)

    async def read_again(name: str, value: str) -> str:
        with _own_words():
            return (await vault.read_again(name, value)).value

    look = partial(base.missing_secrets.run, base.catalog.snapshot, read)
    return SendersPart(check=SenderCheck(SenderSecrets(read, read_again)), tasks=(look,))
