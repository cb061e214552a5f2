"""Verifies the audit log of Postern. This file needs Python 3.11 and `cryptography`, and nothing of Postern.

    python verifier.py EXPORT [--public-key FILE] [--checkpoints FILE] [--unsigned-before TIME]

EXPORT is a file of `postern audit export`: JSON lines, each with a `type`. Times are Unix seconds.

- `audit-export`: the first line. `at` is when the export was made.
- `chain`: one for each server process (`node`), whose events are numbered 1, 2, 3 ... Retention removes the oldest:
  `first` is the first number that is left and `before` the hash before it. `last`, `head` and `last_at` are the number,
  hash and time of the last event, and `checkpoints` is how many checkpoints this process made.
- `checkpoint`: `body` names the last event of every chain at that time. `signature` is Ed25519 over the body.
- `event`: `body` is what happened. `hash` is SHA-256 over the hash before it (64 hexadecimal digits) and the body, both
  in ASCII. The hash before the first event is 64 zeros.
- `end`: the last line, with the number of lines of each type, and the SHA-256 of all lines before it.

What is verified:

1. Each chain is complete: from `first` to `last` no event is missing, doubled, out of order or changed.
2. A chain that begins after 1 was shortened by retention: an event of the kind `retention` says up to where. It counts
   only if a checkpoint of the process that noted it names it or a later event of that process.
3. The checkpoints of a process are complete in the same way: each has the SHA-256 of the one before it.
4. Each checkpoint is signed by one of the public keys, and each event that it names exists and has that hash.

Anyone who can write the database can write all of it anew, or remove the end of a chain with the checkpoints that name
it, but cannot sign checkpoints without the private key. So verify with the public key, and with checkpoints that are
kept where this person cannot write (`--checkpoints`): an audit file, or lines of the server's log.

Exit codes: 0 verified, 1 not verified, 2 wrong arguments.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

GENESIS = "0" * 64
MOST_PROBLEMS = 50
ORDER = ("", "audit-export", "chain", "checkpoint", "event", "end")
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)

Line = Mapping[str, Any]
End = tuple[int, str]
"""A number and the hash that belongs to it."""

NOTHING: End = (0, GENESIS)
LEEWAY = 7200.0
"""Seconds: rounds of retention, an hour apart, and clocks that differ. What is younger than the last round by less may
be gone without a word."""
NO_KEY = "No public key was given, so no signature was checked: anyone who can write the database can write the chain."
NOTHING_ELSEWHERE = (
    "No checkpoints that were kept elsewhere were given (--checkpoints): if the end of a chain was removed, with the "
    "checkpoints that name it, that does not show."
)


class NotVerified(Exception):
    """What is wrong with one line."""


@dataclass
class Report:
    """The result. The first problem of each chain is named."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("chain", "checkpoint", "event"), 0))
    signed: int = 0

    @property
    def verified(self) -> bool:
        return not self.problems

    def wrong(self, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append("".join(each if each.isprintable() else "?" for each in text)[:400])


@dataclass
class Chain:
    """A chain as its line says, and the last event that was looked at. After a `wrong` one nothing is. It was `left`
    for another chain."""

    line: Line
    end: End
    first_at: float | None = None
    at: float | None = None
    wrong: bool = False
    left: bool = False


@dataclass
class Named:
    """An event that a checkpoint names."""

    hash: str
    checkpoint: str
    at: float


class Verifier:
    """Takes the lines in the order of an export, and the checkpoints that were kept elsewhere before the first event.
    It keeps no events."""

    def __init__(self, public_keys: Sequence[Ed25519PublicKey] = (), unsigned_before: float = 0.0) -> None:
        self.report = Report()
        self._keys = {key_id(each): each for each in public_keys}
        self._unsigned_before = unsigned_before
        self._chains: dict[str, Chain] = {}
        self._at_node = ""
        self._named: dict[str, dict[int, Named]] = {}
        self._first: dict[str, tuple[End, float]] = {}  # what is before the first checkpoint of each process; its time
        self._last: dict[str, End] = {}  # and its last one
        self._in_log: dict[End, str] = {}
        self._elsewhere: list[tuple[str, int, float, str]] = []
        self._covered: dict[str, int] = {}  # up to which event checkpoints of its own process name each chain
        self._signed: dict[str, int] = {}  # the same by those that are signed with a public key
        self._removed: dict[str, dict[str, End]] = {"events": {}, "checkpoints": {}}  # as retention says
        self._horizon = float("-inf")
        self._unsigned = self._later = 0
        self._until = 0.0

    def take(self, line: Line) -> None:
        """Take a line of the log: a chain, a checkpoint or an event."""
        kind = line["type"]
        self.report.counts[kind] += 1
        try:
            {"chain": self._chain, "checkpoint": self._checkpoint, "event": self._event}[kind](line)
        except NotVerified as fault:
            self.report.wrong(str(fault))
        except MALFORMED:
            self.report.wrong(f"{kind} {line.get('number', '')} of {line.get('node')} was changed: it is malformed")

    def kept_elsewhere(self, line: Line, until: float = float("inf")) -> None:
        """Take a checkpoint that was kept elsewhere. One that was made after an export, at `until`, says nothing."""
        name = f"the checkpoint {line.get('checkpoint') or line.get('id')} that was kept elsewhere"
        try:
            body = self._checked(line, name, until)
            if body["at"] > until:
                self._later, self._until = self._later + 1, until
            else:
                self._elsewhere.append((body["node"], body["number"], body["at"], sha256(line["body"])))
        except NotVerified as fault:
            self.report.wrong(str(fault))
        except MALFORMED:
            self.report.wrong(f"{name} was changed: it is malformed")

    def finish(self) -> Report:
        """The result, after the last line."""
        for node, chain in self._chains.items():
            if not chain.wrong:
                self._finish_chain(node, chain)
            last = self._last.get(node, self._removed["checkpoints"].get(node, NOTHING))[0]
            if last != chain.line["checkpoints"]:
                self.report.wrong(
                    f"checkpoint {min(last, chain.line['checkpoints']) + 1} of {node} was removed or added"
                )
        for node, (begins, at) in self._first.items():
            self._finish_begin("checkpoint", node, begins, at)
        for node, events in self._named.items():
            self._finish_named(node, sorted(events.items()))
        for node, number, at, digest in self._elsewhere:
            found = self._in_log.get((number, node))
            pruned = at <= self._horizon or number <= self._removed["checkpoints"].get(node, NOTHING)[0]
            if found != digest and not (found is None and pruned):
                what = "is not in the log any more" if found is None else "is another one in the log"
                self.report.wrong(f"checkpoint {number} of {node}, which was kept elsewhere, {what}")
        self._take_notes()
        return self.report

    def _chain(self, line: Line) -> None:
        node, first, before = line["node"], line["first"], line["before"]
        if node in self._chains:
            raise NotVerified(f"the chain of {node} is there twice")
        if not all(isinstance(line[each], int) for each in ("first", "last", "checkpoints")):
            raise TypeError(node)
        if not isinstance(line["head"], str) or not isinstance(line["last_at"], float):
            raise TypeError(node)
        self._chains[node] = Chain(line, (first - 1, before))
        if first < 1 or (first == 1 and before != GENESIS) or line["last"] < first:
            raise NotVerified(f"the row of the chain of {node} was changed: no chain begins like this")

    def _checkpoint(self, line: Line) -> None:
        name = f"checkpoint {line['number']} of {line['node']}"
        body = self._checked(line, name)
        _compare(line, body, ("id", "node", "number", "at"), name)
        node, number, previous = body["node"], body["number"], body["previous"]
        last = self._last.get(node)
        self._last[node] = (number, sha256(line["body"]))
        self._in_log[number, node] = self._last[node][1]
        if last is None:
            self._first[node] = (number - 1, previous), body["at"]
        elif number != last[0] + 1:
            raise NotVerified(f"checkpoint {last[0] + 1} of {node} was removed, or is out of order")
        elif previous != last[1]:
            raise NotVerified(f"checkpoint {last[0]} or {number} of {node} was changed: they do not fit together")

    def _event(self, line: Line) -> None:
        node, number, chain = line["node"], line["number"], self._chains.get(line["node"])
        if node != self._at_node:
            if (former := self._chains.get(self._at_node)) is not None:
                former.left = True
            self._at_node = node
            if chain is None:
                raise NotVerified(f"event {number} of {node} was added: there is no such chain")
        if chain is not None and not chain.wrong:
            chain.wrong = True
            self._link(chain, line, node, number)
            chain.wrong = False

    def _link(self, chain: Chain, line: Line, node: str, number: int) -> None:
        name, last = f"event {number} of {node}", chain.end[0]
        if number > last + 1:
            raise NotVerified(f"event {last + 1} of {node} was removed: the next one is event {number}")
        if number <= last or chain.left:
            raise NotVerified(f"{name} was inserted or reordered: it comes after event {last}")
        body = _parsed(line["body"], name)
        if (body.get("node"), body.get("number")) != (node, number):
            raise NotVerified(f"{name} was inserted, reordered or changed: its body belongs elsewhere")
        _compare(line, body, (), name)
        if line["hash"] != sha256(chain.end[1] + line["body"]):
            raise NotVerified(f"{name} was changed, or is not the one that followed event {last}")
        named = self._named.get(node, {}).pop(number, None)
        if named is not None and named.hash != line["hash"]:
            raise NotVerified(f"{name}, or one before it, was changed: {named.checkpoint} names another hash")
        chain.end, chain.at = (number, line["hash"]), body["at"]
        if number <= self._covered.get(node, 0):
            chain.first_at = chain.first_at if chain.first_at is not None else body["at"]
            if body["kind"] == "retention":
                self._retention(body["fields"].get("pruned") or {}, number <= self._signed.get(node, 0))

    def _retention(self, pruned: Mapping[str, Any], signed: bool) -> None:
        """What an event says of what is removed. A checkpoint of its own process names it."""
        for what, known in self._removed.items():
            for of, (removed, digest) in (pruned.get(what) or {}).items():
                known[of] = max(known.get(of, NOTHING), (removed, digest))
        latest = float("inf") if signed or not self._keys else self._unsigned_before
        self._horizon = max(self._horizon, min(pruned.get("before", float("-inf")), latest) + LEEWAY)

    def _checked(self, line: Line, name: str, until: float = float("inf")) -> dict[str, Any]:
        """The body of a checkpoint whose signature is right. What it names is noted."""
        body = _parsed(line["body"], name)
        try:
            heads = {node: (0 + number, "" + digest) for node, (number, digest) in body["heads"].items()}
            node, at = body["node"], 0.0 + body["at"]
            sane = body["number"] >= 1 and all(isinstance(body[each], str) for each in ("id", "node", "previous"))
            if not sane or body["kind"] != "audit-checkpoint":
                raise ValueError
        except MALFORMED:
            raise NotVerified(f"{name} was changed: it is not a checkpoint") from None
        self._check_signature(line, name, at)
        for of, (number, digest) in heads.items() if at <= until else ():
            known = self._named.setdefault(of, {}).setdefault(number, Named(digest, name, at))
            known.at = min(known.at, at)
            if known.hash != digest:
                raise NotVerified(f"{name} was changed: {known.checkpoint} names another hash for one event")
        for covered in (self._covered, self._signed) if at <= until else ():
            if covered is self._covered or line.get("signature"):
                covered[node] = max(covered.get(node, 0), heads.get(node, NOTHING)[0])
        return body

    def _check_signature(self, line: Line, name: str, at: float) -> None:
        signature, of_key = line.get("signature") or "", line.get("key_id") or ""
        if not signature:
            self._unsigned += 1
        if not self._keys or (not signature and at < self._unsigned_before):
            return
        if not signature:
            raise NotVerified(
                f"{name} is not signed. If no key was in use at that time, say since when one is: "
                f"--unsigned-before {datetime.fromtimestamp(at + 1, UTC):%Y-%m-%dT%H:%M:%SZ}"
            )
        key = self._keys.get(of_key)
        if key is None:
            raise NotVerified(f"{name} is signed with another key, {of_key}")
        try:
            made = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
            key.verify(made, line["body"].encode("ascii"))
        except (InvalidSignature, ValueError):
            raise NotVerified(f"{name} was changed: its signature is wrong") from None
        if base64.urlsafe_b64encode(made).decode("ascii").rstrip("=") != signature:
            raise NotVerified(f"{name} was changed: its signature is written in another way")
        self.report.signed += 1

    def _finish_chain(self, node: str, chain: Chain) -> None:
        (number, digest), line = chain.end, chain.line
        if number < line["last"]:
            self.report.wrong(f"event {number + 1} of {node} was removed, with all that came after it")
        elif number > line["last"]:
            self.report.wrong(f"event {line['last'] + 1} of {node} was added after the end of the chain")
        elif digest != line["head"] or (chain.at is not None and chain.at != line["last_at"]):
            self.report.wrong(f"the row of the chain of {node} was changed: it does not fit event {number}")
        self._finish_begin("event", node, (line["first"] - 1, line["before"]), chain.first_at)

    def _finish_begin(self, kind: str, node: str, begins: End, at: float | None) -> None:
        """What is missing before the first event, or checkpoint, was removed by retention: an event of it says so, or
        the first one is itself older than what retention removes. `at` is None if no checkpoint proves its time."""
        claim = self._removed[f"{kind}s"].get(node, NOTHING)
        is_claimed = claim[0] > begins[0] or claim == begins
        if begins != NOTHING and not is_claimed and (at is None or at >= self._horizon):
            self.report.wrong(f"{kind} {begins[0]} of {node} was removed, or all before it: no retention event says so")

    def _finish_named(self, node: str, events: list[tuple[int, Named]]) -> None:
        """What checkpoints name and the log does not have was removed by retention."""
        chain, claim = self._chains.get(node), self._removed["events"].get(node, NOTHING)
        for number, named in events if chain is None or not chain.wrong else ():
            before = (chain.line["first"] - 1, chain.line["before"]) if chain is not None else claim
            pruned = number < before[0] or (number, named.hash) == before
            if not pruned and not (chain is None and named.at <= self._horizon):
                self.report.wrong(f"event {number} of {node} was removed: {named.checkpoint} names it")
                return

    def _take_notes(self) -> None:
        notes = self.report.notes
        if not self._keys:
            notes.append(NO_KEY)
        elif not self.report.signed:
            self.report.wrong("no checkpoint is signed: anyone who can write the database can write the chain")
        if self._unsigned:
            notes.append(f"{self._unsigned:,} checkpoints are not signed, and prove nothing.")
        if self._later:
            made = f"{datetime.fromtimestamp(self._until, UTC):%Y-%m-%dT%H:%M:%SZ}, when the export was made"
            notes.append(f"{self._later:,} checkpoints were made after {made}, and were not looked at.")
        if not self._elsewhere:
            notes.append(NOTHING_ELSEWHERE)
        covered = {node: max(self._covered.get(node, 0), c.line["first"] - 1) for node, c in self._chains.items()}
        if open_ends := sum(max(0, self._chains[node].line["last"] - number) for node, number in covered.items()):
            notes.append(
                f"{open_ends:,} events came after the last checkpoint of their own server process, which still runs or "
                "ended without one. Nothing but the chain protects them."
            )


class Export:
    """Reads an exported file line by line, and hands its lines to the verifier."""

    def __init__(self, verifier: Verifier, kept_elsewhere: Iterable[Line] = ()) -> None:
        self._verifier = verifier
        self._elsewhere = iter(kept_elsewhere)
        self._until = float("inf")
        self._digest = hashlib.sha256()
        self._place = 0
        self._kind = ""
        self._ended = False
        self._problem = ""

    def take(self, raw: bytes) -> None:
        """Take the next line."""
        self._place += 1
        try:
            line = json.loads(raw)
            kind = line["type"]
            if self._ended or ORDER.index(kind) < ORDER.index(self._kind) or not (self._kind or kind == ORDER[1]):
                raise ValueError(kind)
            self._kind = kind
            if kind == "audit-export":
                self._until = datetime.fromtimestamp(line["at"], UTC).timestamp()
            elif kind == "end":
                self._end(line)
            else:
                if kind == "event":
                    self._take_elsewhere()
                self._verifier.take(line)
        except MALFORMED:
            self._wrong(f"line {self._place} of the export was changed: it is not a line of an export")
        self._digest.update(raw)

    def finish(self) -> Report:
        """The result, after the last line."""
        self._take_elsewhere()
        report = self._verifier.finish()
        if not self._ended:
            self._wrong("the export is cut off: its last line is missing")
        if self._problem:
            report.problems.append(self._problem)
        return report

    def _end(self, line: Line) -> None:
        self._ended = True
        if line != {**self._verifier.report.counts, "sha256": self._digest.hexdigest(), "type": "end"}:
            self._wrong("the export was changed after it was made: its last line does not fit it")

    def _take_elsewhere(self) -> None:
        for each in self._elsewhere:
            self._verifier.kept_elsewhere(each, self._until)

    def _wrong(self, text: str) -> None:
        self._problem = self._problem or text


def verify_export(lines: Iterable[bytes], verifier: Verifier, kept_elsewhere: Iterable[Line] = ()) -> Report:
    """The result for an exported file."""
    export = Export(verifier, kept_elsewhere)
    for raw in lines:
        export.take(raw)
    return export.finish()


def checkpoints_in(lines: Iterable[str]) -> Iterator[Line]:
    """The checkpoints in an audit file, or among the lines of a log. One that is too long for a line of the log is left
    out there."""
    for text in lines:
        if "audit-checkpoint" in text:
            try:
                found = json.loads(text[text.index("{") :])  # a log may have something in front of each line
                if found.get("event") == "audit-checkpoint" and "body_sha256" not in found:
                    parts = [found[each] for each in ("body", "body_2", "body_3") if each in found]
                    yield {**found, "body": "".join(parts)}
            except MALFORMED:
                yield {"body": "", "id": "in a line that was cut or changed"}


def key_id(key: Ed25519PublicKey) -> str:
    """What finds a public key: the SHA-256 of its SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_key(pem: bytes) -> Ed25519PublicKey:
    """The public key in a PEM text. Raises ValueError if it is none, and TypeError if it is not of Ed25519."""
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("it is not an Ed25519 public key")
    return key


def moment(text: str) -> float:
    """A time in ISO 8601, in UTC unless it says otherwise, as Unix seconds. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def written(report: Report) -> Iterator[str]:
    """The result as lines of text."""
    yield from (f"NOT VERIFIED: {each}" for each in report.problems)
    yield from (f"Note: {each}" for each in report.notes)
    counts, verdict = report.counts, "Verified" if report.verified else "Not verified"
    yield (
        f"{verdict}: {counts['event']:,} events in {counts['chain']:,} chains, {counts['checkpoint']:,} checkpoints; "
        f"{report.signed:,} valid signatures."
    )


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _compare(line: Line, body: Line, columns: tuple[str, ...], name: str) -> None:
    """Columns, and those in `row` of a database, are the same as in the body: NULL stands for ""."""
    for column, value in [*((each, line[each]) for each in columns), *line.get("row", {}).items()]:
        expected = body.get(column)
        if value != (None if expected == "" else expected):
            raise NotVerified(f"{name} was changed: its column {column} is not as in its body")


def _parsed(body: str, name: str) -> dict[str, Any]:
    """A body, which is canonical JSON: ASCII, names sorted, no spaces, numbers as Python writes them."""
    try:
        found = json.loads(body)
        if isinstance(found, dict) and body == json.dumps(
            found, allow_nan=False, sort_keys=True, separators=(",", ":")
        ):
            return found
    except MALFORMED:
        pass
    raise NotVerified(f"{name} was changed: its body is not canonical JSON")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Verify an export of Postern's audit log.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--public-key", type=Path, action="append", default=[], help="PEM; may be given several times")
    parser.add_argument("--checkpoints", type=Path, action="append", default=[], help="checkpoints kept elsewhere")
    parser.add_argument(
        "--unsigned-before", type=moment, default=0.0, help="the time since when checkpoints are signed"
    )
    given = parser.parse_args()
    try:
        verifier = Verifier([public_key(each.read_bytes()) for each in given.public_key], given.unsigned_before)
        texts = [each.read_text("utf-8", "replace") for each in given.checkpoints]
        with given.export.open("rb") as lines:
            report = verify_export(lines, verifier, checkpoints_in("\n".join(texts).splitlines()))
    except (OSError, ValueError, TypeError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in written(report))
    return 0 if report.verified else 1


if __name__ == "__main__":
    sys.exit(main())
