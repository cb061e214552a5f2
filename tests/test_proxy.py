"""Which calls out use the proxy."""

from postern.proxy import Proxy
from tests.table import table


@table(
    ("direct", "host", "through"),
    [
        ((), "api.example", True),
        ((), "127.0.0.1", False),
        ((), "localhost", False),
        ((), "::1", False),
        (("api.example",), "API.example.", False),
        (("api.example",), "v2.api.example", False),
        (("api.example",), "myapi.example", True),
        ((".example",), "api.example", False),
        (("*.example",), "api.example", False),
        ((".example",), "api.example.elsewhere", True),
        (("10.0.0.0/8",), "10.1.2.3", False),
        (("10.0.0.0/8",), "11.1.2.3", True),
        (("10.1.2.3",), "10.1.2.3", False),
        (("fd00::/8",), "[fd00::1]", False),
        (("10.0.0.0/8",), "10.example", True),
    ],
)
def test_whether_a_host_is_called_through_the_proxy(direct: tuple[str, ...], host: str, through: bool):
    assert Proxy("http://proxy.example:3128", direct).carries(host) is through
