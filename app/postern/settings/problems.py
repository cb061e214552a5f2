"""What pydantic finds wrong with settings, in plain words. Nothing that could be a secret is shown."""

import re
from collections.abc import Collection
from typing import Any

from pydantic_core import ErrorDetails

from postern.settings import security, types
from postern.settings.entries import KINDS, Connection, Trigger, is_tag
from postern.settings.gateways import Gateway
from postern.settings.sources import PREFIX, SERVICE_LINK_FIX, Layer, SettingProblem, did_you_mean, printable

_PLAIN_WORDS = {
    "missing": ("is missing", "Add it"),
    "string_type": ("is not a string", "Write a string, in quotes"),
    "path_type": ("is not a path", "Write a string, in quotes"),
    "tuple_type": ("is not a list", 'Write a list, ["one", "two"]'),
    "dict_type": ("is not a table", "Write a table"),
    "mapping_type": ("is not a table", "Write a table"),
    "model_type": ("is not a table", "Write a table"),
}
_HARMLESS = {
    ("base_url",),
    ("gateway",),
    ("tls",),
    ("ca_bundle",),
    ("timeout",),
    ("max_response_bytes",),
    ("max_response_elements",),
    ("honours_idempotency_key",),
    ("auth", "managed_identity"),
    ("auth", "federated"),
    ("auth", "certificate_chain"),
    ("auth", "per_user"),
    ("auth", "gateway"),
}
_USER_OR_QUERY = re.compile(r"[:/].*@|@.*[:/]|\?")
"""What is before the host, or the query, of a URL that may lack its scheme. An e-mail address is shown."""
_SECRET_WORDS = ("secret", "password", "key", "token", "database_url")


def problem_of(detail: ErrorDetails, found: Layer, settings: Collection[str]) -> SettingProblem:
    """A pydantic error in plain words, with the place of the value. `settings` are the names of all settings."""
    tagged = tuple(map(str, detail["loc"]))
    of_key = tagged[-1] == "[key]"
    place = tuple(part for n, part in enumerate(tagged) if part != "[key]" and not is_tag(tagged, n))
    where = found.get(place[:2]) or found.get(place[:1])
    setting, source = where.at(place) if where else (PREFIX + place[0].upper(), "default")
    context = detail.get("ctx", {})
    if detail["type"] == "setting":
        wrong, fix = context["wrong"], context["fix"]
    elif detail["type"] == "literal_error":
        wrong, fix = f"is not one of {context['expected']}", "Write one of these"
    elif detail["type"] == "extra_forbidden":
        wrong, fix = "is not a known key", did_you_mean(place[-1], _known_keys(tagged, settings))
    else:
        wrong, fix = _PLAIN_WORDS.get(detail["type"], ("cannot be used", "See the table of settings"))
    if place == ("port",) and str(detail["input"]).startswith("tcp://"):
        fix = SERVICE_LINK_FIX
    if detail["type"] in ("missing", "extra_forbidden"):
        return SettingProblem(setting, source, wrong, fix)
    shown = printable(place[-1]) if of_key else _shown(place, context.get("part") or detail["input"])
    return SettingProblem(setting, source, f"{shown} {wrong}", fix)


def _shown(place: tuple[str, ...], value: Any) -> str:
    """The value for showing, or "the value" if it could contain a secret."""
    secret = any(word in part for word in _SECRET_WORDS for part in place)
    if place[0] in ("connections", "triggers"):
        secret = place[2:] not in _HARMLESS  # an operator may have put a secret into the wrong key
    if secret or not isinstance(value, str | int | float):
        return "the value"
    text = repr(value)
    if "eyJ" in text or _USER_OR_QUERY.search(text) or len(text) > 100:
        return "the value"
    return text


def _known_keys(place: tuple[str, ...], settings: Collection[str]) -> list[str]:
    models: dict[str, type[types.Entry]] = {
        "connections": Connection,
        "triggers": Trigger,
        "gateways": Gateway,
        "findings": security.Findings,
        "access": security.AccessReview,
        "limits": security.Limit if place[1:2] == ("workflows",) else security.Limits,
        **KINDS,
    }
    model = models.get(place[3] if len(place) > 4 else place[0])
    return list(model.model_fields) if model else list(settings)
