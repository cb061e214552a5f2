"""Findings: odd activity of callers, seen from what was admitted and rejected, off the path of requests."""
