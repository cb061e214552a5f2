"""Bodies within the default limits that take as long as can be, by the workflow that they are for."""

from collections.abc import Callable, Iterator

from postern.authoring.workflow import MAX_ELEMENTS

MOST_BYTES = 1_048_576
PRIME = 2**61 - 1
"""Python's hash of a number is its remainder by this one."""


def listed(element: str, elements: int) -> bytes:
    """As many of one element as the limits allow, each of which counts as so many."""
    times = min((MAX_ELEMENTS - 1) // elements, (MOST_BYTES - 2) // (len(element) + 1))
    return f"[{','.join([element] * times)}]".encode()


def joined(brackets: str, member: Callable[[int], str], elements: int = 1) -> bytes:
    """The same with a different member each time."""
    return (brackets[0] + ",".join(map(member, range((MAX_ELEMENTS - 1) // elements))) + brackets[1]).encode()


def tree(depth: int) -> str:
    return f'{{"left":{tree(depth - 1)},"right":{tree(depth - 1)}}}' if depth else "{}"


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Their names, workflows and contents."""
    yield "numbers", "untyped", listed("0", 1)
    yield "lists", "untyped", listed("[]", 2)
    yield "deep lists", "untyped", listed("[" * 190 + "]" * 190, 191)
    yield "text", "untyped", b'"' + b"a, [" * (MOST_BYTES // 4 - 1) + b'"'
    yield "escapes", "untyped", b'"' + b"\\u00e9" * (MOST_BYTES // 6 - 1) + b'"'
    yield "signs of secrets", "untyped", b'"' + b"key " * (MOST_BYTES // 4 - 1) + b'"'
    yield "named like secrets", "untyped", joined("{}", lambda n: f'"key{n}":1')
    yield "long numbers", "numbers", listed("9" * 4200, 1)
    yield "wrong numbers", "numbers", listed('""', 1)
    yield "items", "items", listed('{"a":1,"b":""}', 3)
    yield "wrong items", "items", listed("{}", 2)
    yield "checked items", "checked", listed('{"a":1}', 2)
    yield "checked in a thread", "checked-in-thread", listed('{"a":1}', 2)
    yield "wrong values", "maps", joined("{}", lambda n: f'"{n:x}":{{}}', 2)
    yield "values wrong in each way", "unions", joined("{}", lambda n: f'"{n:x}":{{}}', 2)
    yield "wrong names", "number-map", joined("{}", lambda n: f'"x{n}":1')
    yield "colliding names", "number-map", joined("{}", lambda n: f'"{(n + 1) * PRIME}":1')
    yield "colliding numbers", "number-set", joined("[]", lambda n: str((n + 1) * PRIME))
    yield "few colliding numbers", "number-set", joined("[]", lambda n: str((n % 8 + 1) * PRIME + n // 8))
    yield "colliding ids", "id-set", joined("[]", lambda n: f'"{(n + 1) * PRIME:032x}"')
    yield "few colliding ids", "id-set", joined("[]", lambda n: f'"{(n % 8 + 1) * PRIME + n // 8:032x}"')
    yield "decimals", "decimals", listed("1.0000000000000001", 1)
    yield "tree", "trees", tree(11).encode()
