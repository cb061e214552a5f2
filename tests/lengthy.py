"""The modules of tests that take the longest."""

from pathlib import Path

LENGTHY = [
    Path(__file__).parent / name
    for name in (
        "deploy/test_container.py",
        "process/console/test_pages.py",
        "deploy/test_pages.py",
        "process/test_outage.py",
        "durable/test_faults.py",
        "process/console/test_connecting.py",
        "process/console/test_journeys.py",
        "process/test_dev.py",
        "process/test_durable_chaos.py",
        "testing/test_promises.py",
    )
]
"""The longest first: one that begins last is waited for by all other workers."""
