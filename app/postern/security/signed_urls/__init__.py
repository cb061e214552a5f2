"""Signed URLs: for senders that can send no token. The URL itself is the credential."""
