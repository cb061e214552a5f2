"""The HTTP API beside the triggers: recorded runs and refusals with the checks of who may see and change them, health,
metrics and the documents of the triggers."""

from postern.api.handlers import Cancel, Read, Resubmit, Write
from postern.api.routes import routes

__all__ = ["Cancel", "Read", "Resubmit", "Write", "routes"]
