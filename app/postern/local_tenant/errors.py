"""The errors of the token endpoint."""


class EntraError(Exception):
    """An error response of the token endpoint. No text of the request is repeated: it could be a secret."""

    def __init__(self, status: int, error: str, code: int, description: str) -> None:
        super().__init__(f"AADSTS{code}")
        self.status = status
        self.error = error
        self.code = code
        self.description = description
