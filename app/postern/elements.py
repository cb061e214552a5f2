"""How many elements a JSON text has. The time of parsing and validating grows with them, far more than with the bytes:
they are counted before either, by single bytes, which is the fastest way there is.
"""


def has_more_elements(content: bytes, most: int) -> bool:
    """Whether a JSON text has more than `most` values in its arrays and objects, at any depth. Each array and each
    object counts as one more."""
    if len(content) <= most or separators(content) <= most:
        return False
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings may hold any character. An element has two at most, its name and its value: more are not taken apart.
    return plain.count(b'"') > 4 * (most + 1) or separators(b"".join(plain.split(b'"')[::2])) > most


def separators(content: bytes) -> int:
    """How many elements a JSON text has at most."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")
