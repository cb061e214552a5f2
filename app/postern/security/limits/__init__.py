"""Rates of requests: how many one caller, and one address, may send to the triggers."""
