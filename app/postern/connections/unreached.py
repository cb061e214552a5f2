"""Why an address was not reached, if the address itself is not the cause. Pure functions over the texts of errors: that
of `http_client.py` for our own client, and those of requests for Azure's."""

PROXY_SIGNS_IN = (
    "The proxy of POSTERN_PROXY requires a password, and Postern signs in at no proxy: let it accept this machine by "
    "its address, or set POSTERN_PROXY to a proxy on this machine that signs in there"
)
_NOT_ALLOWED = "Let the proxy of POSTERN_PROXY connect to this host, or name the host in POSTERN_NO_PROXY"
_NO_PROXY = "Check that POSTERN_PROXY is right and can be reached, or name the host in POSTERN_NO_PROXY"
_BY_PROXY = (
    (("POSTERN_PROXY rejected the connection (407)", "Tunnel connection failed: 407"), PROXY_SIGNS_IN),
    (("POSTERN_PROXY rejected the connection", "Tunnel connection failed"), _NOT_ALLOWED),
    (("through the proxy of POSTERN_PROXY", "Unable to connect to proxy"), _NO_PROXY),
)

UNTRUSTED = (
    "Its certificate could not be verified: set POSTERN_CA_BUNDLE, or ca_bundle of the entry, to the authorities to "
    "trust"
)
_OTHER_HOST = "Its certificate is for another host: write the host name that the certificate is for"
_CERTIFICATES = (
    ("Hostname mismatch", _OTHER_HOST),
    ("IP address mismatch", _OTHER_HOST),
    ("certificate has expired", "Its certificate has expired: have it renewed, or set the clock of this machine"),
    ("certificate is not yet valid", "Its certificate is not valid yet: set the clock of this machine"),
)


def by_proxy(error: BaseException) -> str:
    """The fix if the proxy is the cause, as a sentence without its full stop; "" if it is not."""
    text = str(error)
    return next((fix for signs, fix in _BY_PROXY if any(sign in text for sign in signs)), "")


def is_untrusted(error: BaseException) -> bool:
    """Whether the other side's certificate could not be verified."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def of_certificate(error: BaseException) -> str:
    """The fix if the certificate itself is wrong, as a sentence without its full stop; "" if its authority is not
    trusted. The signs are OpenSSL's texts."""
    text = str(error) if is_untrusted(error) else ""
    return next((fix for sign, fix in _CERTIFICATES if sign in text), "")


def remedy(error: BaseException) -> str:
    """The fix if the certificate or the proxy is the cause; "" if the address may be wrong."""
    if is_untrusted(error):
        return of_certificate(error) or UNTRUSTED
    return by_proxy(error)
