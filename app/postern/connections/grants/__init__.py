"""Grants: connections that people connect by signing in at a provider, and whose tokens the server keeps and renews."""
