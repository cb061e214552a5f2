"""From where a workflow can be reached, as its author writes it: networks, and origins of pages in browsers (CORS)."""

import re
from collections.abc import Iterable

from postern.access import Access, Anonymous
from postern.authoring.signature import WorkflowFault
from postern.loopback import is_loopback
from postern.networks import canonical

ANY_ORIGIN = "*"

_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]"
_ORIGIN = re.compile(rf"(?P<scheme>https?)://(?P<host>{_HOST})(?P<port>:[1-9][0-9]{{0,4}})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def networks_of(networks: Iterable[str] | None) -> tuple[str, ...]:
    """The option `networks` as CIDR; () if it was left out. Raises WorkflowFault."""
    found = []
    for network in _texts("networks", networks, "10.0.0.0/8"):
        try:
            found.append(canonical(network))
        except ValueError:
            raise WorkflowFault(
                f'networks=: {network!r} is not an address or a network. Write it like "10.0.0.0/8", "192.0.2.7" or '
                '"2001:db8::/32", without bits behind the prefix'
            ) from None
    return tuple(dict.fromkeys(found))


def origins_of(origins: Iterable[str] | None, access: Access, networks: tuple[str, ...]) -> tuple[str, ...]:
    """The option `origins`, each as a browser writes it (Fetch, `Origin`); () if it was left out. Raises
    WorkflowFault."""
    found = tuple(dict.fromkeys(_texts("origins", origins, "https://app.example")))
    if ANY_ORIGIN in found:
        _check_any(found, access, networks)
    for origin in found:
        if origin != ANY_ORIGIN and (wrong := _wrong_with(origin)):
            raise WorkflowFault(f"origins=: {origin!r} {wrong}")
    return found


def _check_any(origins: tuple[str, ...], access: Access, networks: tuple[str, ...]) -> None:
    """Any page may read only what any program may read."""
    if len(origins) > 1:
        raise WorkflowFault('origins=: "*" is any origin already, so list nothing beside it')
    if not isinstance(access, Anonymous) or access.signed or access.signed_by is not None:
        raise WorkflowFault('origins=["*"] is for anonymous() alone: list the origins of the pages that call this')
    if networks:
        raise WorkflowFault(
            'origins=["*"] and networks=: any page on the internet could read replies through a browser inside these '
            "networks. List the origins of the pages that call this"
        )


def _wrong_with(origin: str) -> str:
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        return (
            'is not an origin as browsers send it. Write scheme, host and port alone, in lower case: "https://app.'
            'example" or "http://localhost:5173"'
        )
    scheme, host, port = parts["scheme"], parts["host"], parts["port"]
    if port == _DEFAULT_PORTS[scheme]:
        return f"has the port that {scheme} has anyway, which browsers leave out: leave it out"
    if scheme == "http" and not is_loopback(host.strip("[]")):
        return "is not https: others on the network could change such a page. http is for loopback alone"
    return ""


def _texts(option: str, values: Iterable[str] | None, example: str) -> tuple[str, ...]:
    if values is None:
        return ()
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise WorkflowFault(f'{option}= takes a list: write {option}=["{example}"]')
    texts = tuple(values)
    if not texts:
        raise WorkflowFault(f"{option}= is empty: leave the option out, or list what is allowed")
    for text in texts:
        if not isinstance(text, str):
            raise WorkflowFault(f'{option}= takes strings like "{example}", not {text!r}')
    return tuple(str.__str__(text) for text in texts)
