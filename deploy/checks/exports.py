"""The two documents that `postern export` makes of the example workflows, for the validator."""

from pathlib import Path

from deploy.checks.tools import Failed, run

SETTINGS = """
tenant_id = "00000000-0000-0000-0000-000000000000"
audience = "api://00000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000000"
client_id = "00000000-0000-0000-0000-000000000000"
public_url = "https://postern.example.com"
workflows = "{workflows}"

[people]
lisa = "00000000-0000-0000-0000-000000000001"
postern = "00000000-0000-0000-0000-000000000002"
"""


def exported(root: Path, work: Path) -> list[Path]:
    """OpenAPI 3.1 and the connector's OpenAPI 2.0, written into `work`."""
    work.mkdir(parents=True, exist_ok=True)
    settings = work / "postern.toml"
    settings.write_text(SETTINGS.format(workflows=root / "workflows"), encoding="utf-8")
    document, connector = work / "openapi.json", work / "connector"
    _export(root, settings, "openapi", "--output", document)
    _export(root, settings, "connector", "--output", connector, "--host", "https://postern.example.com")
    swagger = connector / "apiDefinition.swagger.json"
    missing = [path.name for path in (document, swagger, connector / "apiProperties.json") if not path.is_file()]
    if missing:
        raise Failed(f"postern export wrote no {', '.join(missing)}")
    return [document, swagger]


def _export(root: Path, settings: Path, *arguments: str | Path) -> None:
    python = root / ".venv" / "bin" / "python"
    if not python.is_file():
        raise Failed("there is no .venv: run make setup")
    run(str(python), "-m", "postern", "export", *arguments, folder=root, more={"POSTERN_CONFIG": str(settings)})
