"""The folder of workflows: loads it, reports faulty modules, and reloads changed ones."""

from postern.catalog.catalog import Catalog, try_folder
from postern.catalog.snapshot import EMPTY, Fault, Snapshot, Trigger

__all__ = ["EMPTY", "Catalog", "Fault", "Snapshot", "Trigger", "try_folder"]
