"""A real server process with a collector: what it sends while it runs and when it stops, and what it loads without."""

import signal
import subprocess
import sys
from pathlib import Path

from postern.local_tenant import LocalTenant
from tests.process.servers import ROOT, Server, environment, settings_of, until
from tests.telemetry.collector import collecting, values

WORKFLOW = """
from postern import Context, anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"
"""


def test_each_worker_process_exports_and_sends_the_rest_when_it_stops(
    tmp_path: Path, local_tenant: LocalTenant
) -> None:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "hello.py").write_text(WORKFLOW, encoding="utf-8")
    with collecting() as collector:
        mine = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        server = Server(["serve", "--workers", "2"], tmp_path, settings_of(local_tenant, workflows) | mine)
        try:
            server.open()
            statuses = [server.post("hello").status_code for _ in range(20)]
            until(lambda: server.output.count("telemetry-on") == 2, what=lambda: server.output)
            assert server.stop(signal.SIGTERM) == 0
        finally:
            server.close()

    assert statuses == [200] * 20
    spans = [span for span in collector.spans if span.name == "POST /triggers/hello"]
    assert len(spans) == 20
    assert {values(span.attributes)["http.response.status_code"] for span in spans} == {200}
    assert {each["service.name"] for each in collector.resources} == {"postern"}
    assert "telemetry-not-exported" not in server.output


def test_a_server_without_telemetry_does_not_load_its_library(tmp_path: Path) -> None:
    code = (
        "import sys; from postern.assembly import create_app; from postern.settings import load_settings\n"
        "create_app(load_settings({}, defaults={'workflows': '.'}))\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    command = [sys.executable, "-c", code]
    path = environment({"PYTHONPATH": str(ROOT / "app")})
    found = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
