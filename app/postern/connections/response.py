"""A reply of the other side, whose error is in words of our own."""

from typing import Self

from postern.http_client import HTTPStatusError, Response


class Answer(Response):
    """What an entry's transport hands on. The HTTP client's error would repeat where a redirect leads, which the other
    side wrote and may have made of what it was sent; and errors of workflows are on record."""

    def raise_for_status(self) -> Self:
        """This reply where it is a success, else HTTPStatusError with the status and the address, without its query."""
        request = self.request
        if self.is_success:
            return self
        where = f"{request.method} {request.url.copy_with(query=None)}"
        raise HTTPStatusError(f"{where} was answered with {self.status_code}", request=request, response=self)
