"""The page of signed webhooks: its example loads, and its table is the program's."""

import re
from pathlib import Path

import postern
from postern.access import github, hmac_header, slack, stripe
from postern.assembly import load_catalog
from postern.security import sender_signatures
from postern.security.sender_signatures.verification import SLACK_TIME
from postern.settings import load_settings

PAGE = (Path(sender_signatures.__file__).parents[1] / "SENDER_SIGNATURES.md").read_text(encoding="utf-8")


def test_the_example_is_served(tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "pushed.py").write_text(example, encoding="utf-8")
    mine = {"workflows": str(tmp_path), "key_vault_url": "https://v.vault.azure.net"}
    snapshot = load_catalog(load_settings({}, folder=tmp_path, defaults=mine)).snapshot

    assert not snapshot.faults
    assert snapshot.triggers["pushed"].workflow.access == postern.anonymous(signed_by=github("github-hook"))


def test_the_table_has_each_sender_with_its_header_prefix_and_tolerance():
    rows = {row.split("`")[1].split("(")[0]: row for row in PAGE.splitlines() if row.startswith("| `")}
    other = hmac_header(header="X-Signature", secret="x")
    ways = {"github": github("x"), "stripe": stripe("x"), "slack": slack("x"), "hmac_header": other}

    assert rows.keys() == ways.keys()
    assert SLACK_TIME in rows["slack"]
    for name, way in ways.items():
        assert way.header in rows[name]
        assert way.prefix in rows[name]
        assert (f"{way.tolerance} s off" in rows[name]) == (way.tolerance > 0)
