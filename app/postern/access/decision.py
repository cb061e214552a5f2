"""The access decision: checks a verified Caller against a policy. Pure."""

from postern.access import claims_request
from postern.access.caller import Caller
from postern.access.check import Check, Refused
from postern.access.policy import Policy


def checks(policy: Policy, caller: Caller) -> list[Check]:
    """The results of all requirements of the policy, including those after the first failure."""
    return [requirement.check(caller) for requirement in policy.requirements]


def admit(policy: Policy, caller: Caller) -> None:
    """Admit the caller, or raise Refused. The caller's token has been verified, so the reply may include the advice."""
    for requirement in policy.requirements:
        if not requirement.passes(caller):
            number = policy.requirements.index(requirement) + 1
            person = caller.kind == "user"  # no other caller can sign in again
            claims = claims_request.for_client_of(caller, requirement.claims) if person else ""
            raise Refused(checks(policy, caller)[:number], proved=True, claims=claims)
