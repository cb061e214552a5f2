"""A catalog of everything that a connector cannot say, or must not."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from postern import Context, Reply, anonymous, specific_users, tenant_users, workflow
from postern.access import bind
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger

T = TypeVar("T")
TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "22222222-3333-4444-8555-666666666666"
PERSON = "33333333-4444-4555-8666-777777777777"
CALLING_APP = "44444444-5555-4666-8777-888888888888"
AUDIENCES = ("api://postern", CLIENT)
HERE = Path("/srv/postern/workflows/nasty.py")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, gt=0, lt=10)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = None


class Node(BaseModel):
    """A tree"""

    value: JsonValue = None
    left: "Node | None" = None
    right: "Node | None" = None
    children: list["Node"] = []


class Ping(BaseModel):
    pong: "Pong | None" = None


class Pong(BaseModel):
    ping: Ping


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_page: int | None = None


class Point(NamedTuple):
    x: float
    y: float


class Address(TypedDict, total=False):
    street: str
    zip: Annotated[str, Field(pattern=r"(?P<digits>\d{5})\z")]


@dataclass
class Money:
    amount: Decimal
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "EUR"


class Everything(BaseModel):
    """All of it, without a mark at the end"""

    model_config = ConfigDict(extra="forbid")

    maybe: int | None = None
    either: int | str
    number: int | float = 0
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]
    animals: list[Cat | Dog] = []
    colour: Colour = Colour.RED
    colours: set[Colour] = set()
    size: Size | None = None
    mixed: Literal["a", 1, None] = None
    pair: tuple[int, str] = (1, "a")
    numbers: tuple[int, ...] = ()
    point: Point | None = None
    prices: dict[Annotated[str, Field(pattern="^[a-z]+$")], Money] = {}
    counts: dict[int, int] = {}
    at: datetime
    on: date | None = None
    clock: time | None = None
    pause: timedelta = timedelta(seconds=5)
    address: Address | None = None
    server: IPv4Address | None = None
    id: UUID | None = None
    content: bytes = b""
    limit: float = float("inf")
    wrong: int = Field("not a number", validate_default=False)  # type: ignore[assignment]
    anything: Any = None
    camelCase: str = Field("", title="A title of its own/with a slash", examples=["one", "two"])  # noqa: N815
    odd_name: str = Field("", alias="odd name/with ~ signs", description="No mark at the end")
    extra: Annotated[
        int, Field(json_schema_extra={"if": {"minimum": 3}, "then": {"multipleOf": 2}, "not": {"const": 4}})
    ] = 0


Everything.model_rebuild()


@workflow(access=tenant_users(), methods=["GET", "POST", "DELETE"], path="/{colour}/{size}/{day}/{rest}")
async def every_thing(
    ctx: Context, body: Everything, colour: Colour, size: Size, day: date, rest: int | str
) -> Page[Everything]:
    """Do everything/anything at once (with all that can be said), in a line that is far longer than 80 characters are!

    Reads C:\\nowhere.
    """
    raise NotImplementedError


@workflow(access=anonymous())
async def tree(ctx: Context, node: Node) -> dict[str, Node | Ping]:
    raise NotImplementedError


@workflow(access=anonymous(), name="2fa-reset")
async def two_factor(ctx: Context, body) -> Reply:
    """resets"""
    raise NotImplementedError


@workflow(access=anonymous(), methods=["GET"], stateless=True)
async def look(ctx: Context, body: Cat | None = None) -> list[Page[int] | Page[str]]:
    """Look."""
    raise NotImplementedError


@workflow(access=anonymous(), methods=["GET"])
async def needs_a_body(ctx: Context, body: Cat) -> None:
    """Cannot be said."""


@workflow(access=specific_users(PERSON))
async def payroll(ctx: Context) -> Ping:
    """Run the payroll."""
    raise NotImplementedError


@workflow(access=tenant_users(apps=False, guests=False, roles=["Clerk"], scopes=["Rooms.Book"]))
async def people_only(ctx: Context, many: list[tuple[int, int]]) -> int:
    """Only people."""
    raise NotImplementedError


@workflow(access=tenant_users(clients=[CALLING_APP]))
async def one_client(ctx: Context, body: str | None = None) -> str | None:
    """Only through one client."""
    raise NotImplementedError


@workflow(access=tenant_users(scopes=["Rooms.Book"]))
async def scoped(ctx: Context) -> bool:
    """Only with a scope."""
    raise NotImplementedError


@workflow(access=tenant_users(audiences=["api://other"]))
async def other_audience(ctx: Context) -> None:
    """For another audience."""


@workflow(access=tenant_users(tenants=["99999999-9999-4999-8999-999999999999"]))
async def other_tenant(ctx: Context) -> None:
    """For another tenant."""


def triggers(*chosen: Workflow) -> dict[str, Trigger]:
    """All of these as triggers of an installation, or those that are given."""
    found = chosen or [each for each in globals().values() if isinstance(each, Workflow)]
    return {
        each.name: Trigger(each, bind(each.access, people={}, tenants=[TENANT], audiences=AUDIENCES), HERE)
        for each in found
    }
