"""Which triggers a connector offers: those that its way of signing in can reach, and why not the others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postern import github, tenant_users, workflow
from postern.access import Signed, bind
from postern.catalog import Trigger
from postern.openapi.connector_triggers import Choice, Visitor, Way, choose
from postern.openapi.export_error import ExportFault
from tests.openapi import nasty

OPEN = {"tree", "2fa-reset", "look", "needs-a-body"}
GUARDED = {"every-thing", "payroll", "people-only", "one-client", "scoped", "other-audience", "other-tenant"}


def chosen(way: Way, *names: str, **more: Any) -> Choice:
    visitor = Visitor(way, more.pop("tenant_id", nasty.TENANT), more.pop("client_id", None), nasty.AUDIENCES)
    return choose(nasty.triggers(), visitor, names)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("entra", OPEN | GUARDED - {"other-audience", "other-tenant"}),
        ("api_key", OPEN | {"every-thing", "one-client"}),
        ("basic", OPEN | {"every-thing", "one-client"}),
        ("none", OPEN),
    ],
)
def test_each_way_reaches_what_it_can(way: Way, expected: set[str]):
    choice = chosen(way)
    assert set(choice.triggers) == expected
    assert {remark.workflow for remark in choice.left_out} == (OPEN | GUARDED) - expected
    assert all(remark.what.endswith((".", ")")) for remark in (*choice.left_out, *choice.notes))


def test_what_is_for_the_gateway_itself_has_to_be_chosen():
    choice = chosen("api_key", "payroll", "tree")
    assert set(choice.triggers) == {"payroll", "tree"}
    assert [remark.workflow for remark in choice.notes] == ["payroll"]
    assert "service principal" in choice.notes[0].what


@pytest.mark.parametrize("way", ["entra", "api_key", "basic", "none"])
def test_a_trigger_whose_requests_are_signed_is_for_no_connector(way: Way):
    tree = nasty.triggers()["tree"]
    for policy in (Signed(True, None), Signed(False, github("hook"))):
        there = {"tree": tree, "signed": replace(tree, policy=policy)}
        choice = choose(there, Visitor(way, nasty.TENANT, None, nasty.AUDIENCES), ())
        assert set(choice.triggers) == {"tree"}
        assert [(remark.workflow, "signed" in remark.what) for remark in choice.left_out] == [("signed", True)]


def test_people_only_is_never_for_a_gateway():
    choice = chosen("basic", "people-only", "tree")
    assert set(choice.triggers) == {"tree"}
    assert "apps=False" in choice.left_out[0].what


def test_the_client_of_the_connector_is_measured_where_it_is_known():
    assert "one-client" in chosen("entra", client_id=nasty.CALLING_APP).triggers
    remark = [each.what for each in chosen("entra", client_id=nasty.CLIENT).left_out if each.workflow == "one-client"]
    assert "clients=" in remark[0]
    unknown = [each.what for each in chosen("entra").notes if each.workflow == "one-client"]
    assert "must be among them" in unknown[0]


def test_what_people_need_besides_is_shown():
    remark = " ".join(each.what for each in chosen("entra").notes if each.workflow == "people-only")
    assert "Clerk" in remark
    assert "Rooms.Book" in remark
    assert "Guests" in remark


def test_who_is_on_a_list_is_not_shown():
    assert nasty.PERSON not in str(chosen("entra").notes)
    assert nasty.CALLING_APP not in str(chosen("entra").notes)


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(ExportFault, match=r"--workflow unknown: .*payroll, people-only"):
        chosen("entra", "unknown")


def test_when_nothing_is_reached_the_reasons_are_shown():
    with pytest.raises(ExportFault, match=r"--auth none reaches none .*payroll: It requires a token"):
        chosen("none", "payroll")
    with pytest.raises(ExportFault, match="POSTERN_WORKFLOWS"):
        choose({}, Visitor("none"))


def test_a_stronger_sign_in_is_for_people_and_networks_have_to_include_the_platforms():
    @workflow(access=tenant_users(auth_context="strong"), networks=["10.0.0.0/8"])
    async def pay(ctx: Any) -> None: ...

    policy = bind(
        pay.access, people={}, tenants=[nasty.TENANT], audiences=nasty.AUDIENCES, auth_contexts={"strong": "c1"}
    )
    triggers = {"pay": Trigger(pay, policy, Path("pay.py"))}
    notes = " ".join(
        note.what for note in choose(triggers, Visitor("entra", nasty.TENANT, None, nasty.AUDIENCES)).notes
    )
    assert "auth_context=" in notes
    assert "networks=" in notes
    with pytest.raises(ExportFault, match="the gateway's token never has"):
        choose(triggers, Visitor("api_key", nasty.TENANT, None, nasty.AUDIENCES))
