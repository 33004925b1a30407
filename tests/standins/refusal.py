"""How the stand-in refuses a request."""


class Refused(Exception):
    """A request that the provider answers with an error."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def require(condition: bool, message: str) -> None:
    """Refuses a malformed request as the providers do."""
    if not condition:
        raise Refused(400, "invalid_request_error", message)
