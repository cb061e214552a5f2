"""`ctx.call`: calls another trigger, from its target to its result."""
