"""The mark of a request that came through something else than a trigger's URL: the scope of such a request has a Via
under VIA. No client can set it: a scope's keys are the server's."""

from postern.access import Via

__all__ = ["VIA", "Via"]

VIA = "postern.via"
