"""The database itself: opening, migrating, inspecting, copying and dumping it."""
