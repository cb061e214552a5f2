"""Access to triggers: the three access modes, their policies, the Caller, and the decision. Pure."""

from postern.access.caller import ANYONE, GUID, Caller
from postern.access.check import Check, Refused
from postern.access.decision import admit, checks
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
from postern.access.policy import OPEN, Guarded, Policy, audience_requirement, bind, default_scope

__all__ = [
    "ANYONE",
    "GUID",
    "OPEN",
    "Access",
    "AccessFault",
    "Anonymous",
    "Caller",
    "Check",
    "Guarded",
    "Policy",
    "Refused",
    "SettingMissing",
    "SpecificUsers",
    "TenantUsers",
    "admit",
    "anonymous",
    "audience_requirement",
    "bind",
    "checks",
    "default_scope",
    "specific_users",
    "tenant_users",
]
