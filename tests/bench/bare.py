"""What everything is compared with: Starlette answering JSON, with no check and no record."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def answer(request: Request) -> JSONResponse:
    """A constant answer."""
    return JSONResponse({"message": "Hello, Ada!"})


app = Starlette(routes=[Route("/triggers/greet", answer, methods=["POST"])])
