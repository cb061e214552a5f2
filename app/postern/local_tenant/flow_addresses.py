"""Where the flows of `flows.py` are, for the settings of a local tenant. Commands read them, and serve no flow."""

from postern.local_tenant.tenant import LocalTenant

FLOWS_AUDIENCE = "https://service.flow.microsoft.com/"  # compared exactly, with its slash
WORKFLOWS = "/powerautomate/automations/direct/workflows"
FLOW_IDS = {"approve-leave": "4c8e4b6fb0d94c3d9a3d0d3c7d3a5a10", "holidays": "b7a5c1f0c2f34f0f8f0e6c1f1b8f9d21"}
"""The ids of the flows by name."""


def flow_url(tenant: LocalTenant, name: str) -> str:
    """The address of a flow's trigger, as the designer shows it for a flow that requires a token."""
    return f"{tenant.authority}{WORKFLOWS}/{FLOW_IDS[name]}/triggers/manual/paths/invoke?api-version=1"
