"""The tokens of a grant: what a provider issued, and what a run uses."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GrantTokens:
    """What is kept sealed. `refresh_token` is "" if the provider issued none. `place` is where they go (`places.py`);
    `Seal` writes it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """What a token endpoint responded to a code or a refresh token. `seconds` and `refresh_seconds` are lifetimes from
    now, None if it does not say. `scopes` is None if it does not say, and then what was asked for. `account` is who
    signed in: an id that never changes, "" if the provider does not say; `account_name` is for showing only. `tenant`
    is the account's, for Entra."""

    tokens: GrantTokens
    seconds: float | None
    refresh_seconds: float | None = None
    scopes: tuple[str, ...] | None = None
    instance_url: str = ""
    account: str = ""
    account_name: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """A token that a run may use now. `generation` tells it from its successors; `base_url` is the address that the
    provider named for this grant, "" for the entry's own."""

    token: str = field(repr=False)
    generation: int
    base_url: str = ""
