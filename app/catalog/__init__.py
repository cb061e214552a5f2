"""The folder of workflows: load it, report what is faulty, swap in what changed."""

from app.catalog.catalog import Catalog
from app.catalog.snapshot import Fault, Snapshot, Trigger

__all__ = ["Catalog", "Fault", "Snapshot", "Trigger"]
