"""The links by which operators ask a person to connect something. A browser that opens one is sent on to the page of
its hash, so that no page, no `Referer`, no sign-in and no record has the secret."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from postern.api.grant_actions import CONNECT
from postern.browser_secrets import hash_of, is_secret
from postern.console.frame import Frame
from postern.errors import problem
from postern.triggers.reply import Answer

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Links:
    """Answers requests for links. Nothing is looked up, so opening a link tells nothing and leaves it unused."""

    frame: Frame

    async def opened(self, request: Request, _: str) -> Answer:
        """Send the browser on."""
        location = page_of(request.path_params["name"], request.path_params["secret"])
        if location is None:
            raise problem("not-found")
        return self.frame.redirect(self.frame.below(location))


def page_of(name: str, secret: str) -> str | None:
    """The path of the page of a link; None if it is no link. Pure."""
    known = _NAME.fullmatch(name) is not None and is_secret(secret)
    return f"{CONNECT}/{name}/link/{hash_of(secret)}" if known else None
