"""`ctx.call`: a call to another trigger, from its target to its result."""
