"""Postern: workflows behind trigger URLs. What an author imports, and nothing else."""

from app.access import Caller, anonymous, specific_users, tenant_users
from app.called import CallError, Handle
from app.errors import Problem
from app.retry import Retry
from app.workflow import Context, Reply, Request, Workflow, workflow

__all__ = [
    "CallError",
    "Caller",
    "Context",
    "Handle",
    "Problem",
    "Reply",
    "Request",
    "Retry",
    "Workflow",
    "anonymous",
    "specific_users",
    "tenant_users",
    "workflow",
]
