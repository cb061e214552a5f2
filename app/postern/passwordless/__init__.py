"""Databases that are opened with a token of Entra in place of a password."""
