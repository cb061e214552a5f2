"""What the triggers of a catalog take and give, as documents that other programs read."""
