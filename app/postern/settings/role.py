"""What a server process does of the work that several share."""

from enum import StrEnum


class Role(StrEnum):
    """`http` accepts requests, and executes no durable run. `worker` executes durable runs, and serves no trigger."""

    ALL = "all"
    HTTP = "http"
    WORKER = "worker"
