"""X-Forwarded-Proto as a chain of proxies writes it. Pure; whether a proxy is trusted is decided elsewhere.

Each proxy of a chain may append its own value, and letters of a scheme may have either case (RFC 3986, section 3.1).
Values that agree become the one word that uvicorn's proxy handling knows. Values that differ stay as they are, and are
believed nowhere.
"""

PROTO = b"x-forwarded-proto"


def unify(headers: list[tuple[bytes, bytes]], fields: dict[bytes, bytes] | None) -> None:
    """Write `https, HTTPS` as `https` in the headers (names in lower case). `fields` has the same headers by name, if
    each occurs once."""
    for place, (name, value) in enumerate(headers):
        if name == PROTO:
            said = one_word(value)
            headers[place] = (name, said)
            if fields is not None:
                fields[name] = said


def one_word(value: bytes) -> bytes:
    """The value that all members of the list agree on (RFC 9110, section 5.3); the list itself if they differ."""
    words = {word.strip().lower() for word in value.split(b",")} - {b""}
    return words.pop() if len(words) == 1 else value
