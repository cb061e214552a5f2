"""How many elements a JSON text has. The time of parsing and validating grows with them, far more than with the bytes:
they are counted before either, by single bytes, which is the fastest way there is (grammar: RFC 8259).
"""


def has_more_elements(content: bytes, most: int, *, names: bool = False) -> bool:
    """Whether a JSON text has more than `most` values in its arrays and objects, at any depth. Each array and each
    object counts as one more. With `names`, so does each name in an object."""
    if len(content) <= most or separators(content, names=names) <= most:
        return False
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings may hold any character. An element has two at most, its name and its value: more are not taken apart.
    if plain.count(b'"') > 4 * (most + 1):
        return True
    return separators(b"".join(plain.split(b'"')[::2]), names=names) > most


def separators(content: bytes, *, names: bool = False) -> int:
    """How many elements a JSON text has at most."""
    found = content.count(b",") + content.count(b"[") + content.count(b"{")
    return found + content.count(b":") if names else found
