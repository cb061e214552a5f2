"""The run API: what is on record, who may see it, and what may be done about a run."""

from app.api.pages import Cancel, Read, Resubmit, Write
from app.api.routes import routes

__all__ = ["Cancel", "Read", "Resubmit", "Write", "routes"]
