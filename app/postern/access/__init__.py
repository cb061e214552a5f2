"""Access to triggers: the three access modes, their policies, the Caller, and the decision. Pure."""

from postern.access.agent import Agent, Via
from postern.access.caller import ANYONE, BY_SERVER, GUID, KINDS, Caller
from postern.access.check import Check, Refused
from postern.access.decision import admit, checks
from postern.access.mcp_scope import MCP_ONLY, check_scope, only_for_mcp, refuse_outside
from postern.access.modes import (
    Access,
    AccessFault,
    Anonymous,
    SettingMissing,
    SpecificUsers,
    TenantUsers,
    anonymous,
    specific_users,
    tenant_users,
)
from postern.access.policy import OPEN, Guarded, Policy, Signed, audience_requirement, bind, default_scope
from postern.access.principal import Principal, StartedBy, principal_of
from postern.access.revocation import REVOKED, NoRevocations, Revocations, Revoked
from postern.access.sender import SenderSignature
from postern.access.senders import github, hmac_header, slack, stripe

__all__ = [
    "ANYONE",
    "BY_SERVER",
    "GUID",
    "KINDS",
    "MCP_ONLY",
    "OPEN",
    "REVOKED",
    "Access",
    "AccessFault",
    "Agent",
    "Anonymous",
    "Caller",
    "Check",
    "Guarded",
    "NoRevocations",
    "Policy",
    "Principal",
    "Refused",
    "Revocations",
    "Revoked",
    "SenderSignature",
    "SettingMissing",
    "Signed",
    "SpecificUsers",
    "StartedBy",
    "TenantUsers",
    "Via",
    "admit",
    "anonymous",
    "audience_requirement",
    "bind",
    "check_scope",
    "checks",
    "default_scope",
    "github",
    "hmac_header",
    "only_for_mcp",
    "principal_of",
    "refuse_outside",
    "slack",
    "specific_users",
    "stripe",
    "tenant_users",
]
