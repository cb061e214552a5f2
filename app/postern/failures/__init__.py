"""Notifications of failed runs: they are runs too."""
