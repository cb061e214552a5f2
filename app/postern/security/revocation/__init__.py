"""Revocation: whose tokens, sessions, links and grants are refused."""
