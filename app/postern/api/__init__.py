"""The HTTP API beside the triggers: recorded runs and refusals with the checks of who may see and change them, health,
metrics and the documents of the triggers."""

from postern.api.routes import routes
from postern.api.run_actions import Cancel, Read, Resubmit, Write

__all__ = ["Cancel", "Read", "Resubmit", "Write", "routes"]
