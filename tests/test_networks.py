"""Networks of clients: which address is in which network, in both families and however they are written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.networks import as_mapped, canonical, in_networks
from tests.table import table


@table(
    ("address", "networks", "is_in"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("10.255.255.255", ("10.0.0.0/8",), True),
        ("11.0.0.0", ("10.0.0.0/8",), False),
        ("192.0.2.7", ("10.0.0.0/8", "192.0.2.7"), True),
        ("192.0.2.8", ("10.0.0.0/8", "192.0.2.7"), False),
        ("2001:db8::1", ("2001:db8::/32",), True),
        ("2001:DB8:0:0::1", ("2001:db8::/32",), True),
        ("2001:db9::1", ("2001:db8::/32",), False),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("fe80::1%eth0%1", ("fe80::/10",), True),
        # IPv4 written as IPv6 is IPv4, in addresses and in networks
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("::FFFF:0a01:0203", ("10.0.0.0/8",), True),
        ("::ffff:10.1.2.3%eth0", ("10.0.0.0/8",), True),
        ("::ffff:11.1.2.3", ("10.0.0.0/8",), False),
        ("10.1.2.3", ("::ffff:10.0.0.0/104",), True),
        ("10.1.2.3", ("::/0",), False),
        ("::ffff:10.1.2.3", ("::/0",), False),
        ("2001:db8::1", ("0.0.0.0/0",), False),
        ("10.1.2.3", ("0.0.0.0/0",), True),
        # other ways to carry IPv4 in IPv6 are addresses of IPv6
        ("::10.1.2.3", ("10.0.0.0/8",), False),
        ("64:ff9b::10.1.2.3", ("10.0.0.0/8",), False),
        ("2002:a01:203::1", ("10.0.0.0/8",), False),
        # what is no address is in no network
        ("", ("0.0.0.0/0", "::/0"), False),
        ("unknown", ("0.0.0.0/0", "::/0"), False),
        ("10.1.2.3 ", ("0.0.0.0/0", "::/0"), False),
        ("10.1.2.3%eth0", ("0.0.0.0/0", "::/0"), False),
        ("010.1.2.3", ("0.0.0.0/0", "::/0"), False),
        ("10.1.2", ("0.0.0.0/0", "::/0"), False),
        ("167838211", ("0.0.0.0/0", "::/0"), False),
        ("[2001:db8::1]", ("0.0.0.0/0", "::/0"), False),
        ("10.1.2.3:443", ("0.0.0.0/0", "::/0"), False),
        ("2001:db8::1" + "%" + "e" * 100, ("0.0.0.0/0", "::/0"), False),
        ("10.1.2.3", (), False),
    ],
)
def test_an_address_is_in_these_networks(address, networks, is_in):
    assert in_networks(address, networks) is is_in
    assert in_networks(address, networks) is is_in  # from the cache


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_network_has_one_form(text, network):
    assert canonical(text) == network


@table(
    "text",
    [
        "",
        "*",
        "10/8",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/-1",
        "10.0.0.0 /8",
        "fe80::%eth0/64",
        "2001:db8::1/32",
        "::ffff:10.0.0.1/104",
        "contoso.com",
        "10.0.0.0/8,::/0",
        "10.0.0.0/8\n",
        "\u0661\u0660.0.0.0/8",
    ],
)
def test_what_is_no_network_is_not_taken_for_one(text):
    with pytest.raises(ValueError):  # noqa: PT011 the text is for the caller of `canonical` to write
        canonical(text)


ADDRESSES = st.ip_addresses()
LENGTHS = st.integers(0, 128)


@given(ADDRESSES, ADDRESSES, LENGTHS, st.booleans())
def test_an_address_is_in_a_network_if_its_first_bits_are_those_of_the_network(address, of, length, mapped):
    """The bits of the numbers are compared here, and addresses of IPv4 are written in both ways."""
    bits = of.max_prefixlen
    length = min(length, bits)
    network = ipaddress.ip_network((of, length), strict=False)
    written = f"::ffff:{address}" if mapped and address.version == 4 else str(address)
    folded = getattr(ipaddress.ip_address(written), "ipv4_mapped", None) or address
    same = folded.version == network.version and int(folded) >> (bits - length) == int(of) >> (bits - length)
    text = canonical(str(network))
    if ipaddress.ip_network(text).version == network.version:
        assert in_networks(written, (text,)) is same


@given(st.text(max_size=80))
def test_any_text_is_a_network_with_one_form_or_a_fault(text):
    try:
        found = canonical(text)
    except ValueError:
        return
    assert canonical(found) == found


@given(st.text(max_size=80))
def test_no_text_but_an_address_is_in_a_network(text):
    if in_networks(text, ("0.0.0.0/0", "::/0")):
        ipaddress.ip_address(text.partition("%")[0])


@pytest.mark.parametrize(
    ("proxy", "mapped"),
    [
        ("10.0.0.7", "::ffff:10.0.0.7/128"),
        ("10.0.0.0/8", "::ffff:10.0.0.0/104"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_of_ipv4_can_be_written_as_ipv6(proxy, mapped):
    assert as_mapped(proxy) == mapped
    assert canonical(as_mapped(proxy)) == canonical(proxy)
