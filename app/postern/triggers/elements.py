"""How many elements a JSON body has. The time of parsing and validating grows with them, far more than with the bytes:
they are counted before either, by single bytes, which is the fastest way there is.
"""

from postern.errors import problem


def check_elements(content: bytes, most: int) -> None:
    """Raise Problem 413 `too-many-elements` if a JSON text has more than `most` values in its arrays and objects, at
    any depth. Each array and each object counts as one more."""
    if len(content) <= most or _separators(content) <= most:
        return
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings may hold any character. An element has two at most, its name and its value: more are not taken apart.
    if plain.count(b'"') > 4 * (most + 1) or _separators(b"".join(plain.split(b'"')[::2])) > most:
        raise problem(
            "too-many-elements",
            detail=f"The body has more than {most} elements, the limit of this trigger. Send it in parts. "
            "The workflow's author can raise the limit with the option max_elements.",
            limit_elements=most,
        )


def _separators(content: bytes) -> int:
    return content.count(b",") + content.count(b"[") + content.count(b"{")
