"""Seals values that the database keeps, with keys from Key Vault: tokens of grants, and texts of durable runs."""
