"""Bodies of requests that request an upgrade. Nothing is upgraded here, but the parser stops after such a head, so a
second parser reads the body."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _BodyCallbacks:
    """The callbacks of a parser that starts in the middle of a request: the head it is fed first is dropped."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._head_seen = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self._head_seen:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._head_seen:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_seen:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_seen:
            self._protocol.on_headers_complete()
        self._head_seen = True


def body_parser(protocol: HttpToolsProtocol, framing: bytes) -> httptools.HttpRequestParser:
    """A parser that is positioned after a head of this framing, where the body begins."""
    parser = httptools.HttpRequestParser(_BodyCallbacks(protocol))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
    return parser
