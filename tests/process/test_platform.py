"""A real server called the way Power Platform calls it, from nothing but the two files of the exported connector."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from postern.local_tenant.tokens import Version
from tests.process.platform import Platform, export
from tests.process.servers import running, settings_of
from tests.shipped import copy_examples

PUBLIC_URL = "https://postern.example.com"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, local_tenant: LocalTenant) -> Path:
    """An installation with the example workflows, and its connectors."""
    made = tmp_path_factory.mktemp("platform")
    copy_examples(made / "workflows")
    people = {**local_tenant.people, "postern": local_tenant.applications["postern"].object_id}
    lines = [f'{name} = "{object_id}"' for name, object_id in people.items()]
    (made / "postern.toml").write_text("\n".join(["[people]", *lines, ""]), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def environ(folder: Path, local_tenant: LocalTenant) -> dict[str, str]:
    return {**settings_of(local_tenant, folder / "workflows"), "POSTERN_PUBLIC_URL": PUBLIC_URL}


@pytest.fixture(scope="module")
def server(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    with running("serve", folder, environ) as started:
        yield started.address


@pytest.fixture(scope="module")
def entra(folder: Path, environ: dict[str, str], server: str) -> Platform:
    export(folder, environ, "--output", "entra")
    return Platform(folder / "entra", server)


@pytest.fixture(scope="module")
def gateway(folder: Path, environ: dict[str, str], server: str) -> Platform:
    export(folder, environ, "--output", "gateway", "--auth", "api_key")
    return Platform(folder / "gateway", server)


VERSIONS: tuple[Version, Version] = (1, 2)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("action", "ada", "lisa", "guest"),
    [
        ("Hello", 200, 200, 200),
        ("Whoami", 200, 200, 200),
        ("BookRoom", 201, 201, 201),
        ("Payroll", 401, 200, 401),
        ("IssueBadge", 401, 401, 401),
    ],
)
def test_people_run_what_they_may_with_tokens_of_either_version(
    entra: Platform, local_tenant: LocalTenant, version: Version, action: str, ada: int, lisa: int, guest: int
):
    for who, expected in (("ada", ada), ("lisa", lisa), ("gil", guest)):
        answer = entra.run(action, entra.bearer(entra.token(local_tenant, who, version)))
        assert (who, answer.status_code) == (who, expected), answer.text
        entra.check(action, answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_workflow_sees_the_person_whose_connection_it_is(
    entra: Platform, local_tenant: LocalTenant, version: Version
):
    answer = entra.run("Whoami", entra.bearer(entra.token(local_tenant, "lisa", version))).json()
    assert answer == {"kind": "user", "object_id": local_tenant.people["lisa"], "name": "Lisa Moreau"}


def test_an_anonymous_action_needs_no_connection(entra: Platform):
    assert entra.run("Hello", {}).status_code == 200


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("forged", ["expired", "other_tenant", "wrong_audience"])
def test_a_token_that_is_not_right_opens_nothing(
    entra: Platform, local_tenant: LocalTenant, version: Version, forged: str
):
    answer = entra.run("Whoami", entra.bearer(entra.token(local_tenant, "lisa", version, **{forged: True})))
    assert answer.status_code == 401
    entra.check("Whoami", answer)


def test_without_a_token_a_guarded_action_is_rejected(entra: Platform):
    for action in ("Whoami", "Payroll", "BookRoom"):
        assert entra.run(action, {}).status_code == 401


def test_inputs_that_the_schema_does_not_allow_are_reported_as_the_definition_says(
    entra: Platform, local_tenant: LocalTenant
):
    allowed = entra.bearer(entra.token(local_tenant, "ada", 2))
    answer = entra.run("BookRoom", allowed, body={"start": "soon", "minutes": 1})
    assert answer.status_code == 400
    entra.check("BookRoom", answer)
    assert {error["where"] for error in answer.json()["errors"]} == {"/start", "/minutes"}


def test_a_call_that_is_repeated_with_its_key_runs_once(entra: Platform, local_tenant: LocalTenant):
    assert "Idempotency-Key" in {part["name"] for part in entra.actions["Whoami"][2]["parameters"]}
    sent = entra.bearer(entra.token(local_tenant, "lisa", 2)) | {"Idempotency-Key": "flow-run-1"}
    first, again = entra.run("Whoami", sent), entra.run("Whoami", sent)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["x-run-id"] == again.headers["x-run-id"]


def test_a_key_alone_opens_nothing_at_postern_and_the_gateways_own_token_does(
    gateway: Platform, local_tenant: LocalTenant
):
    scheme = gateway.definition["securityDefinitions"]["api_key"]
    key = {scheme["name"]: "the-key-of-a-connection"}
    assert gateway.run("Whoami", key).status_code == 401
    for version in VERSIONS:
        own = gateway.bearer(local_tenant.token("nightly-report", version=version))
        answer = gateway.run("Whoami", own)
        assert (answer.status_code, answer.json()["kind"]) == (200, "application")
        gateway.check("Whoami", answer)
    assert {"BookRoom", "Payroll", "RequestLeave"} & gateway.actions.keys() == set()


def test_the_uri_alone_as_audience_takes_tokens_of_version_1_only(
    folder: Path, environ: dict[str, str], entra: Platform, local_tenant: LocalTenant
):
    """Why the pages recommend both: the registration's requestedAccessTokenVersion decides, and ours is 2."""
    with running("serve", folder, environ | {"POSTERN_AUDIENCE": local_tenant.audience}) as half:
        there = Platform(folder / "entra", half.address)
        for version, status in zip(VERSIONS, (200, 401), strict=True):
            assert there.run("Whoami", there.bearer(entra.token(local_tenant, "lisa", version))).status_code == status
