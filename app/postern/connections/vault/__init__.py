"""Secrets: read from Key Vault, cached for a short time, and checked for their expiry."""
