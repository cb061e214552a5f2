"""The texts of a custom connector, adapted to the platform's rules. Pure.

Rules: learn.microsoft.com/connectors/custom-connectors, "connector-string-guidance" and "coding-standards".
"""

import re
from typing import NamedTuple

from postern.openapi.export_error import ExportFault

MAX_TITLE = 30
MAX_SUMMARY = 80
NOT_IN_SUMMARIES = "/\\<>*%&?"
"""The platform rejects them in a summary (its schema of connectors, `x-ms-summary` and `summary`)."""

_FORBIDDEN = re.compile(
    r"\b(APIs?|connectors?|power ?(platform|automate|apps?|bi|pages)|(microsoft )?copilot( studio)?|microsoft flow"
    r"|(azure )?logic apps?|dataverse)\b",
    re.IGNORECASE,
)
_ENDS = ".!?。！？"  # noqa: RUF001 - of East Asian scripts too
_NOT_SHOWN = re.compile(r"[^\w &().,'-]")
_TAG = re.compile(
    r"</?(a|b|br|code|div|em|h[1-6]|i|li|ol|p|pre|small|span|strong|su[bp]|tt|u|ul)(\s[^<>]*)?/?>", re.IGNORECASE
)
_SAID = {"/": " or ", "&": " and ", "%": " percent "}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")


class Adapted(NamedTuple):
    """A text that follows the rules, and what was changed ("" if nothing was)."""

    text: str
    change: str = ""


def title_of(wanted: str) -> Adapted:
    """A connector's title: at most 30 characters, without "API", "Connector" and the names of the platform's products.
    Raises ExportFault if nothing is left."""
    text = _spaced(_NOT_SHOWN.sub(" ", _FORBIDDEN.sub(" ", wanted)))
    text = text.strip(" &.,'-")
    shortened = _cut(text, MAX_TITLE).strip(" &.,'-(")
    if not any(letter.isalnum() for letter in shortened):
        raise ExportFault(
            f"--title: nothing of {wanted!r} is allowed in a title. A title has at most {MAX_TITLE} characters, and "
            "none of the words API, Connector and the names of the platform's products. Choose other words"
        )
    change = (
        "" if shortened == wanted else f"The title {wanted!r} was changed to {shortened!r}, by the platform's rules."
    )
    return Adapted(shortened, change)


def summary_of(wanted: str, end: str = "") -> Adapted:
    """An operation's or parameter's name: at most 80 characters including `end`, none of the characters of
    NOT_IN_SUMMARIES, an upper-case letter first, a letter or digit last. "" if nothing is left of it."""
    text = _TAG.sub(" ", wanted)
    for sign, words in _SAID.items():
        text = text.replace(sign, words)
    text = "".join(" " if letter in NOT_IN_SUMMARIES else letter for letter in text)
    text = _cut(_spaced(text), MAX_SUMMARY - len(end))
    while text and not text[-1].isalnum():
        text = text[:-1]
    text = text[:1].upper() + text[1:]
    if text == wanted or not text:
        return Adapted(text and text + end)
    return Adapted(text + end, f"The name {wanted!r} was changed to {text + end!r}, by the platform's rules.")


def sentence_of(wanted: str) -> str:
    """A description: ends with a full stop, or another mark that ends a sentence."""
    text = wanted.strip()
    return text if not text or text[-1] in _ENDS else text.rstrip(" ,;:…") + "."


def description_of(wanted: str, summary: str, name: str) -> str:
    """An operation's description, which must say more than its summary."""
    text = sentence_of(wanted)
    if text.rstrip(_ENDS).casefold() in ("", summary.casefold()):
        return f"{sentence_of(summary)} Runs the workflow {name}."
    return text


def words_of(name: str) -> str:
    """The words of a member's name, in title case: `startTime` and `start_time` are both "Start Time"."""
    return " ".join(word if word.isupper() else word[:1].upper() + word[1:] for word in _WORD.findall(name)) or name


def operation_id_of(wanted: str) -> str:
    """In Pascal case, without hyphens and underscores."""
    return "".join(part[:1].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", wanted))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, most: int) -> str:
    """At most this many characters, cut between two words if there are several."""
    if len(text) <= most:
        return text
    cut = text[: most + 1].rpartition(" ")[0]
    return cut or text[:most]
