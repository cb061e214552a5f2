"""The client of a request."""

from starlette.requests import Request


def address_of(request: Request) -> str:
    """Its address, as a trusted proxy reports it; "" if the transport has none."""
    return request.client.host if request.client else ""
