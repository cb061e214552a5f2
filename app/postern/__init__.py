"""Postern: workflows behind trigger URLs. This module holds the authors' API and nothing else."""

from postern.access import Caller, anonymous, specific_users, tenant_users
from postern.authoring.call_result import CallError, Handle
from postern.authoring.context import Context
from postern.authoring.reply import Reply
from postern.authoring.request import Request
from postern.authoring.retry_policy import Retry
from postern.authoring.workflow import Workflow, workflow
from postern.errors import Problem

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
