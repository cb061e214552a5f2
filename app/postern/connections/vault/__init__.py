"""Secrets: read from Key Vault, remembered for a short time, and watched for their end."""
