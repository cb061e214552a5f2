"""What a verified token says about its bearer."""

import pytest

from postern.identity.claims import caller_of, malformed
from postern.identity.issuers import tenant
from tests.identity.minting import CLIENT, LISA, OTHER_ID, TENANT, TENANT_ID, V1, V2, claims, v1_claims
from tests.table import table


def test_a_persons_token_makes_a_user_with_lower_case_ids():
    caller = caller_of(claims(oid=LISA.upper(), azp=CLIENT.upper(), scp="b a  b", roles=["Reader"]), TENANT)
    assert (caller.kind, caller.object_id, caller.client_id, caller.tenant_id) == ("user", LISA, CLIENT, TENANT_ID)
    assert (caller.scopes, caller.roles) == (frozenset("ab"), frozenset({"Reader"}))
    assert (caller.audience, caller.name, caller.guest) == ("api://postern", "Lisa", False)


@table(
    ("body", "kind"),
    [
        (claims(), "user"),
        (v1_claims(), "user"),
        (claims(idtyp="user"), "user"),
        (claims(idtyp="user", scp=...), "user"),
        (claims(idtyp="app", scp=..., roles=["R"]), "application"),
        (claims(idtyp="app", scp=..., preferred_username="x"), "application"),
        (claims(scp=..., roles=["R"], sub=LISA), "application"),
        (claims(scp=...), "application"),
        (claims(scp=" ", roles=["R"]), "application"),
        (v1_claims(scp=...), "application"),
        (claims(scp=..., preferred_username="lisa@postern.test"), "user"),
        (v1_claims(scp=..., upn="lisa@postern.test"), "user"),
        (claims(scp=..., preferred_username="x", sub=LISA), "application"),
    ],
)
def test_a_person_is_only_who_the_token_says_is_one(body, kind):
    assert caller_of(body, TENANT).kind == kind


@table(
    ("changes", "guest"),
    [
        ({}, False),
        ({"acct": 0}, False),
        ({"acct": 1}, True),
        ({"idp": V1}, False),
        ({"idp": V2}, False),
        ({"idp": V1.replace(TENANT_ID, OTHER_ID)}, True),
        ({"idp": "live.com"}, True),
        ({"idp": "live.com", "acct": 0}, False),
        ({"idp": V1.replace(TENANT_ID, OTHER_ID), "acct": 0}, False),
        ({"idp": V1, "acct": 1}, True),
    ],
)
def test_a_guest_is_marked_as_one_or_else_signed_in_elsewhere(changes, guest):
    assert caller_of(claims(**changes), TENANT).guest is guest


@table(
    ("changes", "agent"),
    [
        ({}, None),
        ({"xms_act_fct": "3 9", "xms_sub_fct": "9 3"}, None),
        ({"xms_act_fct": "111 1", "xms_sub_fct": "113"}, None),
        ({"xms_act_fct": "3 9 11"}, "on-behalf-of-user"),
        ({"xms_act_fct": "11 3", "xms_sub_fct": "1"}, "on-behalf-of-user"),
        ({"xms_act_fct": "11", "xms_sub_fct": "3 13"}, "agent-user"),
        ({"xms_sub_fct": "13"}, "agent-user"),
        ({"xms_act_fct": "11", "xms_sub_fct": "9 3 11", "idtyp": "app", "scp": ...}, "autonomous"),
        ({"xms_act_fct": "11", "xms_sub_fct": "11", "idtyp": "app", "scp": "/"}, "autonomous"),
        ({"xms_act_fct": "11", "xms_sub_fct": "11", "idtyp": "app", "scp": ""}, "autonomous"),
        ({"xms_sub_fct": "11", "scp": "/"}, "autonomous"),
        ({"xms_par_app_azp": OTHER_ID.upper()}, "on-behalf-of-user"),
    ],
)
def test_each_claim_of_an_agent_is_enough_to_be_one(changes, agent):
    body = claims(**changes)
    found = caller_of(body, TENANT)
    assert not malformed(body)
    assert (found.agent and found.agent.kind) == agent
    if found.agent is not None:
        blueprint = OTHER_ID if "xms_par_app_azp" in changes else ""
        assert (found.agent.client_id, found.agent.blueprint, found.object_id) == (CLIENT, blueprint, LISA)
    assert "/" not in found.scopes


@table(
    ("changes", "wrong"),
    [
        ({"xms_act_fct": 11}, ["xms_act_fct"]),
        ({"xms_sub_fct": ["13"]}, ["xms_sub_fct"]),
        ({"xms_par_app_azp": "blueprint"}, ["xms_par_app_azp"]),
        ({"idtyp": "app", "scp": "Run"}, ["idtyp with scp"]),
    ],
)
def test_a_claim_of_an_agent_in_another_form_is_malformed(changes, wrong):
    assert malformed(claims(**changes)) == wrong


def test_at_a_mirror_the_clouds_own_issuers_are_home_too():
    mirror = tenant(TENANT_ID, authority="https://mirror.test")
    assert not caller_of(claims(iss=f"https://mirror.test/{TENANT_ID}/v2.0", idp=V1), mirror).guest


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"name": "Lisa\r\n\x00\x1b[31m\u202eX"}, "Lisa[31mX"),
        ({"name": "x" * 5_000}, "x" * 200),
        ({"name": ..., "preferred_username": "lisa@postern.test"}, "lisa@postern.test"),
        ({"name": ..., "app_displayname": "Payroll"}, "Payroll"),
        ({"name": ...}, ""),
        ({"name": "Łukasz 李"}, "Łukasz 李"),
    ],
)
def test_the_name_is_short_and_printable(changes, name):
    assert caller_of(claims(**changes), TENANT).name == name


@pytest.mark.parametrize(("changes", "client"), [({"azp": ...}, ""), ({"appid": CLIENT}, CLIENT)])
def test_the_client_is_the_one_that_either_version_names(changes, client):
    assert caller_of(claims(**changes), TENANT).client_id == client
