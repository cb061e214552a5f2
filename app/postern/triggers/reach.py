"""From where a trigger can be reached: the networks of clients, and the origins of pages in browsers."""

from postern.catalog import Trigger
from postern.triggers.client_network import check_network
from postern.triggers.cors import let_read
from postern.triggers.secure_transport import Scope


def check_reach(trigger: Trigger, scope: Scope) -> None:
    """Raises Refused for a request from outside the networks of the workflow. Of the rest, pages of its origins may
    read the answer."""
    check_network(trigger, scope)
    let_read(trigger, scope)
