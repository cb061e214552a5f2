"""The access decision: a verified Caller is compared with a policy, check by check. Pure."""

from postern.access.caller import Caller
from postern.access.check import Check, Refused
from postern.access.policy import Policy


def checks(policy: Policy, caller: Caller) -> list[Check]:
    """The answers to every question of the policy, also after one that is no."""
    return [question.check(caller) for question in policy.questions]


def admit(policy: Policy, caller: Caller) -> None:
    """Let the caller in, or raise Refused. The caller's token has been verified, so the refusal may tell the truth."""
    for number, question in enumerate(policy.questions, start=1):
        if not question.passes(caller):
            raise Refused(checks(policy, caller)[:number], proved=True)
