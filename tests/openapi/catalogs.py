"""Catalogs that documents are made of: the examples, and one whose types are all that is odd."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from postern.assembly import load_catalog
from postern.catalog import Trigger
from postern.settings import load_settings
from postern.settings.installation import Installation

ROOT = Path(__file__).parent.parent.parent
TENANT = "11111111-1111-4111-8111-111111111111"
LISA = "22222222-2222-4222-8222-222222222222"
POSTERN = "33333333-3333-4333-8333-333333333333"
AUDIENCES = ("api://postern", "44444444-4444-4444-8444-444444444444")
HERE = Installation("https://postern.example", "https://login.microsoftonline.com", TENANT, AUDIENCES)

ODD = '''
import datetime
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, SecretStr, WithJsonSchema
from typing_extensions import TypedDict

from postern import Context, Reply, anonymous, specific_users, tenant_users, workflow


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(gt=0, le=9, description="How many are left.")] = 9


class Dog(BaseModel):
    """A <script>alert("dog")</script>."""

    kind: Literal["dog"]
    weight: Decimal = Decimal("12.5")


class Tree(BaseModel):
    label: str = Field(pattern="^[a-z]+$", examples=["oak"])
    children: list["Tree"] = []
    parent: "Tree | None" = None


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


@dataclass
class Login:
    user: str
    password: str = "hunter1"


class Point(NamedTuple):
    x: float = float("nan")
    y: float = 0.0


class Extra(TypedDict, total=False):
    note: str


class Problem(BaseModel):
    """With eyJhunter9.eyJhunter9.x in it."""

    mine: bool


class Odd(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    tree: Tree
    colour: Colour = Colour.RED
    when: datetime.datetime
    day: datetime.date | None = None
    how_long: datetime.timedelta = datetime.timedelta(minutes=5)
    price: Decimal = Field(ge=0, max_digits=8, decimal_places=2)
    login: Login = Login("root", "hunter2")
    api_key: str = "hunter3"
    hidden: SecretStr = SecretStr("hunter4")
    place: Path = Path("/srv/private")
    dsn: str = "postgresql://me:hunter5@db/x"
    token_list: list[str] = ["eyJhunter6.eyJhunter6.x"]
    defaults: dict[str, Any] = {"client_secret": "hunter7"}
    point: Point = Point()
    extra: Extra = {}
    by_id: dict[uuid.UUID, Cat] = {}
    anything: Any = None
    mixed: int | str | list[bool] = Field(default=1, description="A union.")
    problem: Problem | None = None


class Own:
    pass


class Failing(BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        raise OSError("/srv/hunter8")


@workflow(access=anonymous(), path="/{what}/of/{n}", methods=["POST", "GET"], max_concurrency=2)
def odd(ctx: Context, body: Odd, what: Colour, n: Annotated[int, Field(ge=1)]) -> Page[Tree]:
    """Do <script>alert(1)</script> at once, in a first line that is much too long for the eighty characters of one.

    And a second paragraph & "quotes"
    """


@workflow(access=tenant_users(roles=["Clerk"], guests=False), stateless=True)
def no_schema(ctx: Context, call: Callable[[], int]) -> Callable[[], int]: ...


@workflow(access=tenant_users(apps=False))
def failing(ctx: Context, body: Failing) -> Own: ...


@workflow(access=tenant_users())
def astray(ctx: Context, body: Annotated[int, WithJsonSchema({"$ref": "https://elsewhere.example/x.json"})]): ...


@workflow(access=tenant_users(audiences=["api://other"]))
def loose(ctx: Context, body=None) -> Reply | str: ...


@workflow(access=specific_users("lisa"), path="/{part}")
def bare(ctx: Context) -> None: ...


@workflow(access=anonymous(), name="3d-print")
async def print_it(ctx: Context, tree: Tree) -> Tree | None: ...
'''
OTHER = """
from pydantic import BaseModel
from postern import Context, anonymous, workflow


class Tree(BaseModel):
    height: float


@workflow(access=anonymous())
def plant(ctx: Context, tree: Tree) -> list[Tree]: ...
"""

HIDDEN = "\x1b\x9b\x07\u061c\u200b\u202e\u2028\ufeff\x7f"
"""Characters that control a terminal, or reverse or hide text."""

HIDING = f'''
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from postern import Context, anonymous, workflow

class Order(BaseModel):
    """An order {HIDDEN}"""

    size: Literal["{HIDDEN}", "large"] = Field("large", title="Size {HIDDEN}", description="a\\n{HIDDEN}")
    note: Annotated[str, Field(examples=["{HIDDEN}"])]

@workflow(access=anonymous())
def hiding(ctx: Context, order: Order) -> Order:
    """Orders{HIDDEN} now.

    And{HIDDEN} then.
    """
'''.replace("\x1b", "\\x1b").replace("\u2028", "\\u2028")


def triggers_of(folder: Path, **settings: Any) -> Mapping[str, Trigger]:
    """What the modules of a folder serve, none of them faulty."""
    defaults = {
        "tenant_id": TENANT,
        "audience": list(AUDIENCES),
        "people": {"lisa": LISA, "postern": POSTERN},
        "workflows": str(folder),
    }
    snapshot = load_catalog(load_settings({}, folder=folder, defaults=defaults | settings)).snapshot
    assert not snapshot.faults
    return snapshot.triggers


def write(folder: Path, **modules: str) -> Path:
    """A folder with these modules."""
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder
