"""The folder of workflows: load it, report what is faulty, swap in what changed."""

from postern.catalog.catalog import Catalog
from postern.catalog.snapshot import Fault, Snapshot, Trigger

__all__ = ["Catalog", "Fault", "Snapshot", "Trigger"]
