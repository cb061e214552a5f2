"""Runs that hear of the failures of other runs."""
