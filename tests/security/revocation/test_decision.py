"""The decision: which callers the rules refuse."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from postern.access import ANYONE, Caller
from postern.journal.revocations import Kind, Rule
from postern.security.revocation.decision import merged, refusing, refusing_since
from tests.table import table

NOW = 1_700_000_000.0
LISA = Caller("user", object_id="lisa", tenant_id="t", client_id="cli", token_id="uti-1", issued_at=NOW - 300)
NEW = replace(LISA, issued_at=NOW + 1, token_id="uti-2")
NO_IAT = replace(LISA, issued_at=0.0)

PERSON = Rule(Kind.CALLER, "t", "lisa", NOW)
BARRED = Rule(Kind.CALLER, "t", "lisa", NOW, NOW + 3600)
CLIENT = Rule(Kind.CLIENT, "", "cli", NOW)
TOKEN = Rule(Kind.TOKEN, "", "uti-1", NOW)


@table(
    ("rule", "caller", "now", "refused"),
    [
        (PERSON, LISA, NOW + 10, True),
        (PERSON, NO_IAT, NOW + 10, True),
        (PERSON, NEW, NOW + 10, False),
        (PERSON, replace(LISA, issued_at=NOW), NOW, False),
        (PERSON, replace(LISA, object_id="gil"), NOW + 10, False),
        (PERSON, replace(LISA, tenant_id="other"), NOW + 10, False),
        (PERSON, replace(LISA, kind="application"), NOW + 10, True),
        (BARRED, NEW, NOW + 10, True),
        (BARRED, NEW, NOW + 3600, False),
        (BARRED, LISA, NOW + 3600, True),
        (CLIENT, LISA, NOW + 10, True),
        (CLIENT, NO_IAT, NOW + 10, True),
        (CLIENT, replace(LISA, tenant_id="other"), NOW + 10, True),
        (CLIENT, replace(LISA, client_id="another"), NOW + 10, False),
        (CLIENT, NEW, NOW + 10, False),
        (TOKEN, LISA, NOW + 10, True),
        (TOKEN, replace(LISA, issued_at=NOW + 99), NOW + 10, True),
        (TOKEN, NEW, NOW + 10, False),
        (TOKEN, replace(LISA, token_id=""), NOW + 10, False),
        (PERSON, ANYONE, NOW + 10, False),
    ],
)
def test_who_is_refused(rule: Rule, caller: Caller, now: float, refused: bool):
    assert (refusing(merged([rule]), caller, now) is not None) is refused


def test_without_rules_everyone_passes():
    assert refusing({}, LISA, NOW) is None


def test_of_several_rules_the_one_that_lasts_longest_is_told():
    found = refusing(merged([TOKEN, CLIENT, BARRED]), LISA, NOW)
    assert found is not None
    assert (found.kind, found.bars_until) == ("caller", NOW + 3600)


def test_what_a_person_had_before_is_refused_and_what_came_since_is_not():
    rules = merged([PERSON])
    assert refusing_since(rules, "t", "lisa", NOW - 1, NOW + 9) is not None
    assert refusing_since(rules, "t", "lisa", NOW + 1, NOW + 9) is None


RULES = st.lists(
    st.builds(
        Rule,
        st.just(Kind.CALLER),
        st.just("t"),
        st.sampled_from(["lisa", "gil"]),
        st.floats(NOW - 1000, NOW + 1000),
        st.sampled_from([0.0, NOW - 5, NOW + 500]),
    ),
    max_size=6,
)


@given(RULES, st.floats(NOW - 2000, NOW + 2000), st.floats(NOW, NOW + 2000))
def test_several_revocations_of_one_person_refuse_what_one_of_them_refuses(found, issued_at, now):
    caller = replace(LISA, issued_at=issued_at)
    one_of_them = any(refusing(merged([rule]), caller, now) for rule in found)
    assert (refusing(merged(found), caller, now) is not None) is one_of_them
