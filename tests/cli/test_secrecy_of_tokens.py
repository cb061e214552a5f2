"""No command sends a token to an address where others could read it on the way, and `postern serve` warns which
callers it will reject."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer import Exit

from postern.cli.api_client import check_secrecy
from postern.cli.serve import warn_of_plain_http
from postern.settings import load_settings
from tests.cli.conftest import Postern

PLAIN = "http://postern.example:8080"


@pytest.mark.parametrize(
    "arguments",
    [
        ["call", "payroll", "--as", "lisa"],
        ["runs"],
        ["runs", "show", "01980d3c-8c5e-7cc3-98c4-dc0c0c07398f"],
        ["refusals"],
    ],
    ids=" ".join,
)
def test_a_token_is_not_sent_over_plain_http_to_another_machine(postern: Postern, arguments: list[str]):
    result = postern(*arguments, POSTERN_PUBLIC_URL=PLAIN)
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert f"{PLAIN} is plain http, where others could read the token: it was not sent." in text
    assert "Set POSTERN_PUBLIC_URL to the server's https address." in text


def test_a_call_without_a_token_is_sent(postern: Postern, folder: Path):
    """To an address that no machine has."""
    result = postern("call", "hello", "--no-token", POSTERN_PUBLIC_URL="http://0.0.0.1:9")
    assert (result.exit_code, "was not sent" in result.stderr) == (1, False)


@pytest.mark.parametrize(
    "url", ["https://postern.example", "http://127.0.0.2:1", "http://localhost", "http://[::1]:80", "http://0.0.0.0:80"]
)
def test_https_and_this_machine_are_safe(url: str):
    check_secrecy(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://localhost.example", "http://[fd00::1]:80"])
def test_plain_http_to_anywhere_else_is_not(url: str):
    with pytest.raises(Exit):
        check_secrecy(url)


@pytest.mark.parametrize(
    ("host", "proxies", "warned"),
    [
        ("0.0.0.0", (), True),
        ("192.0.2.1", (), True),
        ("::", (), True),
        ("127.0.0.1", (), False),
        ("::1", (), False),
        ("localhost", (), False),
        ("0.0.0.0", ("10.0.0.0/8",), False),
    ],
)
def test_serving_other_machines_without_a_proxy_is_warned_of(tmp_path: Path, host, proxies, warned):
    settings = load_settings({}, folder=tmp_path, defaults={"host": host, "trusted_proxies": proxies})
    with capture_logs() as lines:
        warn_of_plain_http(settings)
    assert [line["event"] for line in lines] == ["no-trusted-proxies"] * warned
    assert all("POSTERN_TRUSTED_PROXIES" in line["fix"] for line in lines)
