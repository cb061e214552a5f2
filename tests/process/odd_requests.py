"""Requests that no client would send, made of pieces that parsers stumble over."""

import random

METHODS = [b"POST"] * 8 + [
    b"GET",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"post",
]
PIECES = [
    b"/", b"//", b"/triggers/", b"typed", b"plain", b"guarded", b"/7/of/x", b"/%37/of/%2F", b"..", b"%2e%2e",
    b"%00", b"%", b"%zz", b"?", b"?a=1&a=2", b"#", b"\\", b";", b"\xc3\xa9", b"%C3%A9", b"%FF", b"*",
    b"http://other/triggers/plain", b"/healthz", b"@", b":80", b" ", b"\t", b"a" * 3000, b"{number}", b"1" * 5000,
    b"/triggers/typed/1e999/of/\xf0\x9f\x98\x80",
]  # fmt: skip
NAMES = [
    b"Host", b"Content-Type", b"Content-Length", b"Transfer-Encoding", b"Authorization", b"Cookie", b"Expect",
    b"Connection", b"Upgrade", b"Content-Encoding", b"X-Forwarded-For", b"X-HTTP-Method-Override", b"Accept",
    b"Range", b"traceparent", b"Idempotency-Key", b"Prefer", b"TE", b"Trailer", b"Date", b"", b"X y", b"X\xff",
]  # fmt: skip
VALUES = [
    b"", b"application/json", b"application/json; charset=utf-16", b"text/plain", b"multipart/form-data", b"0",
    b"-1", b"+3", b"3, 3", b"999999999999999999999", b"chunked", b"gzip, chunked", b"identity", b"close",
    b"keep-alive, upgrade", b"websocket", b"h2c", b"100-continue", b"Bearer", b"Bearer x.y.z",
    b"Bearer eyJhbGciOiJub25lIn0.e30.", b"Bearer " + b"A" * 9000, b"Basic Og==", b"\xff\xfe", b"a\x00b", b"\x7f",
    b"a" * 20000, b"gzip", b"bytes=0-", b"00-0-0-0", b"wait=99999999999999",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[]", b"null", b"{", b'{"number": 1}', b'{"number": "1e400"}', b'{"number": ' + b"9" * 5000 + b"}",
    b'{"number": 1, "lines": [{"a": NaN}]}', b'{"number": 1, "lines": [{"a": 1e400}]}', b"[" * 5000,
    b'{"a":' * 3000, b'"\\ud800"', b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"-0", b"1e999", b"Infinity",
    b'{"number": 1, "number": 2}', b"\x00" * 100, b'{"number": 1, "lines": [{"\\u0000": 1}]}', b"a=1&b=2",
]  # fmt: skip


def odd_request(chance: random.Random) -> bytes:
    """A request: mostly well-formed in framing, seldom in anything else."""
    method = chance.choice(METHODS)
    if chance.random() < 0.6:
        target = chance.choice([b"/triggers/typed/7/of/x", b"/triggers/plain", b"/triggers/guarded"])
    else:
        target = b"".join(chance.choices(PIECES, k=chance.randint(1, 4)))
    target += chance.choice(PIECES) if chance.random() < 0.2 else b""
    body = chance.choice(BODIES)
    headers = [(b"Host", b"postern.test"), (b"Connection", b"close")]
    if chance.random() < 0.8:
        headers.append((b"Content-Type", b"application/json"))
    if chance.random() < 0.3:
        headers.append((b"Transfer-Encoding", b"chunked"))
        size = chance.choice([b"%x" % len(body), b"%x;a=b" % len(body), b"-1", b"zz", b"f" * 20])
        framed = b"%b\r\n%b\r\n0\r\n%b\r\n" % (size, body, chance.choice([b"", b"", b"Authorization: Bearer x\r\n"]))
        body = framed if body else b"0\r\n\r\n"
    else:
        headers.append((b"Content-Length", b"%d" % len(body)))
    more = chance.choice([0, 0, 1, 1, 2, 200])
    headers += zip(chance.choices(NAMES, k=more), chance.choices(VALUES, k=more), strict=True)
    chance.shuffle(headers)
    version = chance.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    sent = b"%b %b %b\r\n%b\r\n%b" % (method, target, version, head, body)
    if chance.random() < 0.1:
        spoilt = bytearray(sent)
        for _ in range(chance.randint(1, 5)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        sent = bytes(spoilt)
    return sent
