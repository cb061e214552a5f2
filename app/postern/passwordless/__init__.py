"""Database connections with a token from Entra in place of a password."""
