"""Which names mean a secret: `access_token`, `accessToken` and `ACCESS-TOKEN` are one name. Pure.

A name is split into words at separators and at capital letters. Its last word says what it is: an `access_token` is a
token, a `token_count` is a number. Operators find the list in `README.md`.
"""

import re
from functools import lru_cache

SIGNS = (
    "a(?:ssertion|uth)|bearer|c(?:o(?:de|okie|n(?:n|trase))|red|v[cv])|dsn|jwt|ke(?:nnw|y)|otp|p(?:ass|in|sw|w)"
    "|s(?:a(?:ml|s)|e(?:cret|nha)|hared|ig)|token"
)
"""A pattern that is found in every name of a secret, written in lower case."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_SIGN = re.compile(SIGNS)
_LONGEST_CACHED = 100


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ANYWHERE = _words(
    "secret password passwd passphrase passcode passwort kennwort pwd accesstoken refreshtoken idtoken "
    "bearertoken privatekey apikey accesskey accountkey storagekey masterkey signingkey encryptionkey "
    "functionskey subscriptionkey sharedkey sharedaccess connectionstring connstring connstr codeverifier "
    "samlresponse motdepasse contraseña contrasena senha passwörter kennwörter"
)
"""Words that mean a secret wherever they are in a name: a `password_hint` too."""

_NOT_THESE = ("secretar", "passwordless", "secretless", "pwdless")

_LAST = _words(
    "assertion authorization bearer cookie cookies cred creds credential credentials cvc cvv dsn jwt jwts "
    "otp otps pin pins sas sig totp auth pass userpass dbpass pw psw"
)
"""Words that mean a secret if they are the last one."""

_HARMLESS: dict[str, frozenset[str]] = {
    "auth": _words("has is needs no require required requires skip use with without enable disable"),
    "pass": _words("boarding bus by day first hall monthly second season single ski test"),
    "credentials": _words("allow has include no require requires use with"),
}
"""Words before these that make them harmless: a `boarding_pass`."""

_PAGES = _words(
    "cancellation continuation cursor delta eof eos bos mask next nextpage pad page pagination prev "
    "previous sep skip skiptoken stop sync unk"
)
"""Tokens of this kind are places in a list, or of a text: a `next_page_token`."""

_COUNTS = _words(
    "audio available billed budget cached completion consumed count generated input limit max maximum min "
    "minimum n new num number output processed prompt reasoning remaining special sum text total used"
)
"""Tokens of this kind are counted, or parts of a text: `max_tokens`. So are `tokens` without another word."""

_KEYS = _words(
    "access account admin aes api app application auth client consumer decryption encryption function "
    "functions hmac host license master private rsa secret server service session shared signing "
    "signature ssh storage subscription symmetric webhook"
)
"""Keys of this kind are secrets. Others are names of something: a `primary_key`, a `key`."""

_CODES = _words("auth authorization backup cvc cvv device login mfa otp pin recovery reset security time verification")
_PAIRS = frozenset(
    [*(("signature", each) for each in ("access", "amz", "goog", "oss", "sas")), ("url", "sas"), ("uri", "sas")]
)
"""Last words that mean a secret behind one other word only: the signature of a webhook is none."""

_CARRIERS = _words("base data encoded field hash header plain raw string text v value values")
"""Words at the end that do not change what a name means: a `token_value`."""


def is_secret_name(name: str) -> bool:
    """Whether values under this name are always redacted."""
    return _cached(name) if len(name) <= _LONGEST_CACHED else _means_secret(name)


def _means_secret(name: str) -> bool:
    if _SIGN.search(name.lower()) is None:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    for harmless in _NOT_THESE:
        joined = joined.replace(harmless, "-")
    if any(part in joined for part in _ANYWHERE):
        return True
    while len(words) > 1 and words[-1] in _CARRIERS:
        words.pop()
    return bool(words) and _last_means_secret(words[-1], words[:-1])


_cached = lru_cache(maxsize=4096)(_means_secret)


def _last_means_secret(last: str, before: list[str]) -> bool:
    """What the last word means, after the words before it. `sessiontoken` is `session` and `token`."""
    nearest = before[-1] if before else ""
    if last in _LAST:
        return nearest not in _HARMLESS.get(last, ())
    for ending, kinds in (("key", _KEYS), ("keys", _KEYS), ("code", _CODES), ("codes", _CODES)):
        if last.endswith(ending):
            return (last.removesuffix(ending) or nearest) in kinds
    if last.endswith("token"):
        return (last.removesuffix("token") or nearest) not in _PAGES
    if last.endswith("tokens"):
        described = [word for word in (*before, last.removesuffix("tokens")) if word]
        return bool(described) and _COUNTS.isdisjoint(described)
    return (last, nearest) in _PAIRS
