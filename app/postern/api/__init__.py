"""What the server says of itself and of its runs, beside the triggers: who may see what is on record, and what may be
done about it."""

from postern.api.handlers import Cancel, Read, Resubmit, Write
from postern.api.routes import routes

__all__ = ["Cancel", "Read", "Resubmit", "Write", "routes"]
