"""What the server says of itself and of its runs, beside the triggers: who may see what is on record, and what may be
done about it."""

from app.api.pages import Cancel, Read, Resubmit, Write
from app.api.routes import routes

__all__ = ["Cancel", "Read", "Resubmit", "Write", "routes"]
