"""Which issuers speak for a tenant, in every cloud."""

import pytest

from postern.identity.issuers import CLOUDS, tenant
from tests.identity.minting import TENANT_ID
from tests.table import table

ISSUERS = {
    "public": (f"https://sts.windows.net/{TENANT_ID}/", f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"),
    "usgov": (f"https://sts.windows.net/{TENANT_ID}/", f"https://login.microsoftonline.us/{TENANT_ID}/v2.0"),
    "china": (
        f"https://sts.chinacloudapi.cn/{TENANT_ID}/",
        f"https://login.partner.microsoftonline.cn/{TENANT_ID}/v2.0",
    ),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_has_one_issuer_of_each_version(cloud):
    made = tenant(TENANT_ID.upper(), cloud)
    assert (made.issuers_v1, made.issuers_v2) == tuple(frozenset({issuer}) for issuer in ISSUERS[cloud])
    assert made.issuers == frozenset(ISSUERS[cloud])


def test_an_authority_of_our_own_is_accepted_beside_the_clouds():
    made = tenant(TENANT_ID, authority="https://localhost:8443/")
    assert made.authority == "https://localhost:8443"
    assert made.issuers_v1 == {f"https://localhost:8443/{TENANT_ID}/", ISSUERS["public"][0]}
    assert made.issuers_v2 == {f"https://localhost:8443/{TENANT_ID}/v2.0", ISSUERS["public"][1]}


@pytest.mark.parametrize(
    "authority", ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost", "https://mirror.test"]
)
def test_plain_http_is_for_loopback_only(authority):
    assert tenant(TENANT_ID, authority=authority).authority == authority


@table(
    "authority",
    [
        "http://login.microsoftonline.com",
        "http://127.0.0.1.evil.test",
        "ftp://localhost",
        "https://",
        "https://user@host.test",
        "https://host.test?x",
        "https://host.test#x",
        "https://host.test\\@evil.test",
        "https://host .test",
        "https://höst.test",
        "",
        "login.microsoftonline.com",
    ],
)
def test_an_unsafe_authority_cannot_be_written_down(authority):
    with pytest.raises(ValueError, match="authority"):
        tenant(TENANT_ID, authority=authority)


@pytest.mark.parametrize(("tenant_id", "cloud"), [("common", "public"), ("", "public"), (TENANT_ID, "moon")])
def test_a_tenant_is_a_guid_in_a_known_cloud(tenant_id, cloud):
    with pytest.raises(ValueError, match=r"tenant id|cloud"):
        tenant(tenant_id, cloud)
