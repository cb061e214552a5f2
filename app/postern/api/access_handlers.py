"""`GET /access`: the access review, for operators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio import to_thread
from pydantic_core import to_json
from starlette.requests import Request

from postern.api.departure import Page
from postern.api.list_query import review_filter
from postern.api.operators import Operators
from postern.security.review.documents import review_json
from postern.security.review.review import Review, chosen
from postern.triggers.reply import Answer, json_reply


@dataclass(frozen=True, slots=True)
class AccessHandlers:
    """`operators` returns the operator who sends a request, `make` the review as of now."""

    operators: Operators
    make: Callable[[], Awaitable[Review]]

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """By method and path."""
        return (("GET", "/access", self.review),)

    async def review(self, request: Request) -> Answer:
        """The document of `postern access --json`, filtered by `workflow`, `mark` and `text`."""
        await self.operators(request)
        wanted = review_filter(request.scope["query_string"])
        made = await self.make()
        content = await to_thread.run_sync(lambda: to_json(review_json(chosen(made, wanted))))
        return json_reply(200, content)
