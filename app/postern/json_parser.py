"""JSON as callers and other systems send it."""

from functools import partial

from pydantic_core import CoreConfig, from_json

parse = partial(from_json, allow_inf_nan=False, cache_strings="none")
"""The value of a JSON text. Raises ValueError for other texts, and for numbers that are not finite."""

WITHOUT_CACHE = CoreConfig(cache_strings="none")
"""For validators of JSON. The parser would keep the last 16,384 short strings that it read, of any caller and for good.
They lie scattered among what large bodies took, so that its memory could not be given back: it grew by half in an hour
of hostile traffic."""
