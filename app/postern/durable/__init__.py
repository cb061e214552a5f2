"""Runs that outlive their requests and server processes: the engine that keeps the promise of a 202."""
