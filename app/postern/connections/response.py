"""A reply of the other side, with an error text of our own."""

from typing import Self

from postern.http_client import HTTPStatusError, Response


class Answer(Response):
    """The response from an entry's transport. The HTTP client's own error would repeat a redirect's address, which the
    other side may have made from what it received, and errors of workflows are recorded."""

    def raise_for_status(self) -> Self:
        """This reply if it is a success. Raises HTTPStatusError with the status and the address without its query."""
        request = self.request
        if self.is_success:
            return self
        where = f"{request.method} {request.url.copy_with(query=None)}"
        raise HTTPStatusError(f"{where} returned {self.status_code}", request=request, response=self)
