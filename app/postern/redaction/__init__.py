"""The last line of defence against secrets in logs and records. It redacts by the name of a value, and by the shape of
a JWT or of a password in a URL anywhere in a text. It cannot recognise a secret in plain text under a harmless name.
"""

from postern.redaction.bodies import NOT_RECORDED, body_without_secrets
from postern.redaction.forms import redacted_query
from postern.redaction.long_texts import beginning, long_text_without_secrets
from postern.redaction.names import is_secret_name
from postern.redaction.texts import REDACTED, TOKEN, first_sign, may_tell, without_secret_values, without_tokens
from postern.redaction.values import each_text, without_secrets, written

__all__ = [
    "NOT_RECORDED",
    "REDACTED",
    "TOKEN",
    "beginning",
    "body_without_secrets",
    "each_text",
    "first_sign",
    "is_secret_name",
    "long_text_without_secrets",
    "may_tell",
    "redacted_query",
    "without_secret_values",
    "without_secrets",
    "without_tokens",
    "written",
]
