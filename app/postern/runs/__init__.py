"""Runs: the runner that executes workflows within the request, with deadlines, steps and idempotency keys."""
