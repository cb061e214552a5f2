"""How the exporters reach the collector: the proxy, and the authority of its certificate."""

import ssl
from pathlib import Path

import pytest
import trustme

from postern.proxy import Proxy
from postern.telemetry.environment import Signals
from postern.telemetry.otlp import Otlp, _session
from postern.telemetry.spans import Ended
from tests.telemetry.collector import Collector, collecting

pytestmark = pytest.mark.slow

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = Ended("POST", "server", TRACE, "b7ad6b7169203331", "", 1, 2, 1)


def test_the_proxy_is_that_of_the_settings_and_none_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere:1")
    proxy = Proxy("http://proxy.example:3128", ("inside.example",))

    assert _session(proxy, "https://collector.example").proxies["https"] == "http://proxy.example:3128"
    for direct in ("https://otel.inside.example", "http://127.0.0.1:4318", "http://localhost:4318"):
        assert _session(proxy, direct).proxies == {}
    assert _session(None, "https://collector.example").proxies == {}
    assert not _session(None, "https://collector.example").trust_env


def sent(collector: Collector, monkeypatch: pytest.MonkeyPatch, ca: Path | None, **environment: str) -> list[str]:
    """The spans that came to a collector with TLS."""
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "2"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    otlp = Otlp(Signals(traces=True), instance="i", version="0", ca_bundle=ca, environment=environment)
    otlp.take(SPAN)
    otlp.close(10)
    return [span.name for span in collector.spans]


def test_the_certificate_is_verified_by_the_bundle_of_the_settings_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))

    with collecting(context) as collector:
        assert sent(collector, monkeypatch, None) == []
        assert sent(collector, monkeypatch, tmp_path / "other.pem") == []
        assert sent(collector, monkeypatch, tmp_path / "ca.pem") == ["POST"]
        named = str(tmp_path / "ca.pem")
        found = sent(collector, monkeypatch, tmp_path / "other.pem", OTEL_EXPORTER_OTLP_CERTIFICATE=named)
        assert found == ["POST"] * 2
