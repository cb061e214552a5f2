"""A provider of tokens as strict as they come: a real HTTP server on loopback, as a thread or a process of its own.

A refresh token may be used once. Its second use ends the whole family of tokens (RFC 9700, section 4.14.2), unless it
comes within the period of grace. `rules` say how it answers, and `report` what happened. Clients authenticate by the
header or in the body, and codes need PKCE (S256).
"""

import base64
import hashlib
import hmac
import json
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

CLIENT_ID, CLIENT_SECRET = "strict-client", "strict-secret"


@dataclass
class Rules:
    """How it answers. `answer` is in place of tokens for the next `times` token requests (None: all of them): a status
    such as "503", "html" for a page with status 200, or the `error` of a JSON document, of status 400 or, with
    `error_status`, another. `used_up` says that the refresh token is used up all the same. `slow` are seconds before
    each answer of the token endpoint, after it took the token. `challenge` are claims (JSON) that its own API asks for:
    a token that was requested without them gets a claims challenge, and with `deaf` each token does. With `step_up`
    only a person can meet claims: a refresh with others than those of the sign-in is `interaction_required`."""

    rotate: bool = True
    grace: float = 0.0
    expires_in: float | str | None = 3600
    refresh_token: bool = True
    slow: float = 0.0
    answer: str = ""
    times: int | None = None
    error_status: int = 400
    used_up: bool = False
    retry_after: str = ""
    account: str = "lisa"
    scopes: str | None = None
    separator: str = " "
    instance_url: str = ""
    denied: str = ""
    iss: str | None = None
    client_secret: str = CLIENT_SECRET
    challenge: str = ""
    deaf: bool = False
    step_up: bool = False


class Tokens(NamedTuple):
    """What it issued."""

    access_token: str
    refresh_token: str


@dataclass
class Family:
    """What came of one consent. `used` are the refresh tokens that were used, and when, `met` the claims of the
    sign-in, and `claims` those that each access token was requested with."""

    account: str
    scopes: str
    refresh: str = ""
    generation: int = 0
    revoked: str = ""
    access: set[str] = field(default_factory=set)
    used: dict[str, float] = field(default_factory=dict)
    of: dict[str, int] = field(default_factory=dict)
    met: str = ""
    claims: dict[str, str] = field(default_factory=dict)


class StrictProvider:
    """The provider. All of it may be used by any thread."""

    def __init__(self, **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.requests: Counter[str] = Counter()
        """Token requests by family and generation of the refresh token, such as "0/3"."""
        self.answers: Counter[str] = Counter()
        self.revocations = 0
        self.families: list[Family] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()
        self._server = Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator["StrictProvider"]:
        """Serve it in threads of this process."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def grant(self, account: str = "", scopes: str = "read write") -> Tokens:
        """Tokens as if somebody had just consented."""
        with self._lock:
            family = Family(account or self.rules.account, scopes)
            self.families.append(family)
            return self._issue(family)

    def report(self) -> dict[str, Any]:
        """What happened: token requests by family and generation, answers by kind, why families were revoked, by their
        numbers, and the generation of each family."""
        with self._lock:
            return {
                "requests": dict(self.requests),
                "answers": dict(self.answers),
                "revocations": self.revocations,
                "revoked": {str(n): each.revoked for n, each in enumerate(self.families) if each.revoked},
                "generations": [family.generation for family in self.families],
            }

    def set(self, **rules: Any) -> None:
        """Change the rules from now on."""
        with self._lock:
            self.rules = Rules(**(asdict(self.rules) | rules))

    def told(self, path: str, said: dict[str, Any]) -> Tokens | None:
        """What a test in another process says: new rules, or that somebody consented."""
        if path == "/grants":
            return self.grant(**said)
        self.set(**said)
        return None

    def accepts(self, access_token: str) -> str:
        """The account of an access token that is valid; "" if it is not."""
        with self._lock:
            return next((each.account for each in self.families if access_token in each.access), "")

    def challenges(self, access_token: str) -> str:
        """The claims challenge for an access token (Microsoft, "Claims challenges, claims requests and client
        capabilities"); "" for one that was requested with the claims of the rules."""
        with self._lock:
            asked, found = self.rules.challenge, (each.claims.get(access_token) for each in self.families)
            if not asked or (asked in found and not self.rules.deaf):
                return ""
            encoded = base64.b64encode(asked.encode()).decode()
            return f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'

    # What is asked

    def metadata(self) -> dict[str, Any]:
        """Where it is (OpenID Connect Discovery). It promises to name itself (RFC 9207)."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "authorization_response_iss_parameter_supported": True,
        }

    def authorize(self, asked: dict[str, str]) -> tuple[int, dict[str, str]]:
        """A redirect back to the client, as if the person had agreed."""
        needed = {"client_id": CLIENT_ID, "response_type": "code", "code_challenge_method": "S256"}
        if any(asked.get(name) != value for name, value in needed.items()) or not asked.get("redirect_uri"):
            return 400, {"error": "invalid_request"}
        back = {"state": asked.get("state", "")}
        with self._lock:
            if self.rules.denied:
                back["error"] = self.rules.denied
            else:
                back["code"] = secrets.token_urlsafe(16)
                self._codes[back["code"]] = asked
            if self.rules.iss is not None:
                back["iss"] = self.rules.iss
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return 302, {"Location": f"{asked['redirect_uri']}{joint}{urlencode(back)}"}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any] | str]:
        """Tokens for a code or a refresh token."""
        with self._lock:
            if not self._is_client(form, authorization):
                return self._said(401, "invalid_client")
            if form.get("grant_type") == "authorization_code":
                return self._for_code(form)
            found = next((each for each in self.families if form.get("refresh_token", "") in each.of), None)
            if found is None or form.get("grant_type") != "refresh_token":
                return self._said(400, "invalid_grant")
            return self._for_refresh_token(found, form["refresh_token"], form.get("claims", ""))

    def revoke(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any] | str]:
        """RFC 7009: any of its tokens ends the family."""
        with self._lock:
            if not self._is_client(form, authorization):
                return 401, {"error": "invalid_client"}
            self.revocations += 1
            for family in self.families:
                if form.get("token", "") in {*family.access, *family.of}:
                    self._end(family, "by request")
            return 200, {}

    def _for_code(self, form: dict[str, str]) -> tuple[int, dict[str, Any] | str]:
        asked = self._codes.pop(form.get("code", ""), {})
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        same = asked.get("redirect_uri") == form.get("redirect_uri")
        if not asked or not same or not hmac.compare_digest(challenge, asked.get("code_challenge", "")):
            return self._said(400, "invalid_grant")
        special = self._special()
        if special is not None:
            return special
        family = Family(self.rules.account, asked.get("scope", "") if self.rules.scopes is None else self.rules.scopes)
        family.met = asked.get("claims", "")
        self.families.append(family)
        return self._document(family, self._issue(family, family.met))

    def _for_refresh_token(self, family: Family, token: str, claims: str) -> tuple[int, dict[str, Any] | str]:
        self.requests[f"{self.families.index(family)}/{family.of[token]}"] += 1
        special = self._special()
        if special is not None and not self.rules.used_up:
            return special
        used = family.used.get(token)
        if used is not None and time.monotonic() - used > self.rules.grace:
            self._end(family, "reuse of a refresh token")
        if family.revoked:
            return self._said(400, "invalid_grant")
        if self.rules.step_up and claims not in ("", family.met):
            return self._said(400, "interaction_required", claims=claims)
        if self.rules.rotate:
            family.used.setdefault(token, time.monotonic())
        return special or self._document(family, self._issue(family, claims))

    def _issue(self, family: Family, claims: str = "") -> Tokens:
        family.generation += 1
        if self.rules.rotate or not family.refresh:
            family.refresh = f"refresh-{secrets.token_urlsafe(24)}"
            family.of[family.refresh] = family.generation
        tokens = Tokens(f"access-{secrets.token_urlsafe(24)}", family.refresh)
        family.access.add(tokens.access_token)
        family.claims[tokens.access_token] = claims
        return tokens

    def _document(self, family: Family, tokens: Tokens) -> tuple[int, dict[str, Any] | str]:
        self.answers["tokens"] += 1
        found: dict[str, Any] = {"access_token": tokens.access_token, "token_type": "Bearer"}
        if self.rules.refresh_token:
            found["refresh_token"] = tokens.refresh_token
        if self.rules.expires_in is not None:
            found["expires_in"] = self.rules.expires_in
        if self.rules.instance_url:
            found["instance_url"] = self.rules.instance_url
        return 200, found | {"scope": self.rules.separator.join(family.scopes.split())}

    def _special(self) -> tuple[int, dict[str, Any] | str] | None:
        rules = self.rules
        if not rules.answer or rules.times == 0:
            return None
        if rules.times is not None:
            rules.times -= 1
        if rules.answer == "html":
            self.answers["html"] += 1
            return 200, "<!doctype html><title>Proxy</title><p>Something went wrong: refresh-marker"
        if rules.answer.isdecimal():
            self.answers[rules.answer] += 1
            return int(rules.answer), "overloaded"
        return self._said(rules.error_status, rules.answer)

    def _said(self, status: int, error: str, **more: str) -> tuple[int, dict[str, Any] | str]:
        self.answers[error] += 1
        return status, {"error": error, "error_description": "a description with a marker: refresh-marker", **more}

    def _end(self, family: Family, why: str) -> None:
        family.revoked = family.revoked or why
        family.access.clear()

    def _is_client(self, form: dict[str, str], authorization: str) -> bool:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            decoded = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            name, _, secret = (unquote_plus(part) for part in decoded.partition(":"))
        return (name, secret) == (CLIENT_ID, self.rules.client_secret)


class Handler(BaseHTTPRequestHandler):
    """HTTP of a provider."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def provider(self) -> StrictProvider:
        assert isinstance(self.server, Server)
        return self.server.provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/authorize":
            status, found = self.provider.authorize({name: each[0] for name, each in parse_qs(url.query).items()})
            self._send(status, {} if status == 302 else found, found if status == 302 else {})
        elif url.path == "/.well-known/openid-configuration":
            self._send(200, self.provider.metadata())
        elif url.path == "/report":
            self._send(200, self.provider.report())
        elif url.path == "/me":
            self._me(self.headers.get("Authorization", "").removeprefix("Bearer "))
        else:
            self._send(404, {"error": "not_found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.path in ("/rules", "/grants"):
            tokens = self.provider.told(self.path, json.loads(body))
            self._send(200, tokens._asdict() if tokens else {})
            return
        answer = {"/token": self.provider.token, "/revoke": self.provider.revoke}.get(self.path)
        if answer is None:
            self._send(404, {"error": "not_found"})
            return
        form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
        status, found = answer(form, self.headers.get("Authorization", ""))
        rules = self.provider.rules
        if self.path == "/token" and rules.slow:
            time.sleep(rules.slow)
        self._send(status, found, {"Retry-After": rules.retry_after} if rules.retry_after else {})

    def _me(self, token: str) -> None:
        account = self.provider.accepts(token)
        challenge = self.provider.challenges(token) if account else "Bearer"
        if challenge:
            self._send(401, {"error": "invalid_token"}, {"WWW-Authenticate": challenge})
        else:
            self._send(200, {"account": account})

    def _send(self, status: int, found: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None) -> None:
        data = (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was killed
            super().handle()


class Server(ThreadingHTTPServer):
    """The server of a provider."""

    daemon_threads = True

    def __init__(self, provider: StrictProvider) -> None:
        self.provider = provider
        super().__init__(("127.0.0.1", 0), Handler)


def main() -> None:
    """Serve until standard input ends. Arguments are rules as NAME=JSON; the URL is printed."""
    known = {each.name for each in fields(Rules)}
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    provider = StrictProvider(**{name: json.loads(value) for name, value in given.items() if name in known})
    with provider.serving():
        print(provider.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
