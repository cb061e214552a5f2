"""A spawned process finds the modules of the folder, and the server's own catalog does not change."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from postern.catalog.spawned import VARIABLE, hand_down
from tests.catalog.test_catalog import HEAD, Folder

pytestmark = [pytest.mark.usefixtures("own_modules"), pytest.mark.process]


def test_a_function_of_a_module_is_unpickled_in_a_spawned_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(VARIABLE, "")
    folder = Folder(tmp_path / "flows")
    folder.write("_prices.py", "class Order: price = 7\ndef price_of(order): return order.price\n")
    folder.write("orders.py", HEAD + "from workflows._prices import Order, price_of\n@workflow\ndef buys(ctx): ...\n")
    folder.catalog.load()
    hand_down(folder.path)
    module = sys.modules["workflows.orders"]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(module.price_of, module.Order()).result(20) == 7
