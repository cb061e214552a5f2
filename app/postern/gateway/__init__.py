"""Gateways: systems in a private network, reached by agents that connect out to this server."""
