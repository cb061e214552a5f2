"""Which addresses the agent connects to, in every form in which one can be written."""

import ipaddress

from hypothesis import given, strategies

from postern.gateway.agent.addresses import NEVER, first_refused, refused
from tests.table import table

ORDINARY = [
    "10.0.0.7",
    "100.64.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.0.193",
    "168.63.129.17",
    "100.100.100.201",
    "8.8.8.8",
    "fd12:3456::7",
    "2a01:4f8::1",
    "::ffff:10.0.0.7",
    "64:ff9b::a00:7",
    "64:ff9b:1::a00:7",
    "2002:a00:7::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]
THIS_MACHINE = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"]
EDGES = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
]
NO_ADDRESSES = [
    *("", "localhost", "127.1", "0x7f000001", "2130706433", "10.0.0.07", "10.0.0.7:80"),
    *("fe80::1%eth0", "::1%lo"),
]


def every_form(address: str) -> list[str]:
    """An IPv4 address in each form of IPv6 that leads to it."""
    bits = int(ipaddress.IPv4Address(address))
    high, low = f"{bits >> 16:x}", f"{bits & 0xFFFF:x}"
    octets = ipaddress.IPv4Address(address).packed
    teredo = ~bits & 0xFFFFFFFF
    return [
        f"::ffff:{address}",
        f"::ffff:0:{address}",
        f"::{address}",
        f"64:ff9b::{high}:{low}",
        f"64:ff9b:1::{high}:{low}",
        f"64:ff9b:1:{high}:{octets[2]:x}:{octets[3]:02x}00::",
        f"2002:{high}:{low}::1",
        f"2001:0:808:808::{teredo >> 16:x}:{teredo & 0xFFFF:x}",
        f"2001:0:{high}:{low}::1",
        f"2a01:4f8::5efe:{high}:{low}",
        f"fd12::200:5efe:{high}:{low}",
    ]


@table("address", ORDINARY)
def test_an_ordinary_address_may_be_connected_to(address: str):
    assert refused(address, loopback=False) == ""


@table("address", EDGES)
def test_some_addresses_are_never_connected_to_whatever_the_row_says(address: str):
    assert refused(address, loopback=False)
    assert refused(address, loopback=True)


@table("address", THIS_MACHINE)
def test_this_machine_is_connected_to_only_where_the_row_says_so(address: str):
    assert "this machine's own" in refused(address, loopback=False)
    assert refused(address, loopback=True) == ""


@table("address", NO_ADDRESSES)
def test_what_is_no_plain_address_is_not_connected_to(address: str):
    assert refused(address, loopback=True)


V4 = [ipaddress.ip_network(each) for each in NEVER if ":" not in each]


@given(strategies.sampled_from(V4), strategies.integers(min_value=0))
def test_every_address_of_the_networks_is_refused_in_every_form(network: ipaddress.IPv4Network, number: int):
    address = str(network[number % network.num_addresses])
    assert refused(address, loopback=True)
    first = int(address.partition(".")[0])
    for form in every_form(address):
        if first == 0 and (form.startswith("64:ff9b:1:") or form == "::0.0.0.1"):
            continue  # zeros behind a prefix of local use say nothing, and ::1 is this machine
        assert refused(form, loopback=True), form


@given(strategies.ip_addresses(v=4), strategies.booleans())
def test_an_address_is_refused_in_every_form_or_in_none(address: ipaddress.IPv4Address, loopback: bool):
    plain = bool(refused(str(address), loopback=loopback))
    forms = every_form(str(address))
    mapped, nat64, six_to_four = forms[0], forms[3], forms[6]
    assert {bool(refused(form, loopback=loopback)) for form in (mapped, nat64, six_to_four)} == {plain}


def test_one_bad_address_of_a_name_is_enough():
    assert first_refused(["10.0.0.7", "fd12::7"], loopback=False) is None
    assert first_refused(["10.0.0.7", "169.254.169.254"], loopback=False) == ("169.254.169.254", "is link-local")
