"""Connections on behalf of the caller: the token that a run was called with is exchanged for one of another API."""
