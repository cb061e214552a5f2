"""The six steps that every request to a trigger passes, the limits on requests, and the replies."""
