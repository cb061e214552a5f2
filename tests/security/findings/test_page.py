"""FINDINGS.md has the kinds, limits and example that the code has."""

import re
from pathlib import Path

from postern.access import Caller, StartedBy, principal_of
from postern.journal import findings, known_callers
from postern.journal.finding import MOST_NOTED, FindingKind
from postern.security.findings import alerts, detector, known, refusal_rules, rules, watch
from postern.security.findings.kinds import KINDS, title_of

PAGE = (Path(__file__).parents[3] / "app/postern/security/FINDINGS.md").read_text(encoding="utf-8")


def test_the_table_has_every_kind_in_the_words_of_the_console():
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[a-z-]+` \| (caller|application|address)", line)]
    assert rows == [f"| `{kind.value}` | {KINDS[kind].about} | {KINDS[kind].when} |" for kind in FindingKind]


def test_the_sentences_have_the_numbers_of_the_rules():
    sentences = {
        FindingKind.TOKEN_FROM_TWO_NETWORKS: (rules.BACK_SECONDS / 60,),
        FindingKind.NEW_NETWORK: (rules.SUCCESSES,),
        FindingKind.FIRST_USE: (rules.LEARNING / 86400,),
        FindingKind.SUCCESS_AFTER_REFUSALS: (refusal_rules.FAILURE_SECONDS / 60, refusal_rules.FAILURES, 401),
        FindingKind.MANY_WORKFLOWS: (refusal_rules.WORKFLOWS,),
        FindingKind.DORMANT_CALLER: (rules.DORMANT / 86400,),
        FindingKind.EXPIRED_TOKEN_USED: (refusal_rules.EXPIRED_USES, refusal_rules.EXPIRED_SECONDS / 60),
        **{kind: (most,) for kind, most in refusal_rules.BURSTS.items()},
    }
    for kind, numbers in sentences.items():
        found = [float(each) for each in re.findall(r"\d+", KINDS[kind].when)]
        assert found[: len(numbers)] == [float(number) for number in numbers], kind


def test_the_page_has_the_limits():
    for text in (
        f"kept for {known_callers.KEPT_DAYS} days",
        f"at most {known_callers.MOST_ROWS:,} rows",
        f"at most {findings.MOST_ROWS:,} rows",
        f"at most {detector.MOST_OF_KIND} findings of a kind in a day",
        f"{watch.MOST_WAITING:,} groups of requests",
        f"{watch.MOST_FINDINGS:,} findings to be written",
        f"first {MOST_NOTED} ids",
        f"At least {known.SHARED} callers",
        f"{known.ROAMING} networks in the last {known.ROAMING_DAYS} days",
        f"less than {rules.LEARNING / 86400:.0f} days and was last seen more than {rules.QUICK / 60:.0f} minutes ago",
        f"At most {alerts.BURST} alerts start at once",
        f"At most {alerts.BURST - alerts.RESERVED} of the {alerts.BURST} are about addresses",
    ):
        assert text in " ".join(PAGE.split()), text


def test_the_example_is_a_module_of_workflows(tmp_path: Path):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, object] = {}
    exec(compile(code, "example.py", "exec"), found)
    assert "notify_security" in found


def test_a_kind_of_a_later_release_is_its_own_name():
    assert title_of("odd") == "odd"
    assert title_of("new-network") == "A new network"


def test_the_run_of_an_alert_acts_for_nobody():
    principal = principal_of(Caller("finding"), StartedBy.FINDING, called=False)
    assert (principal.owner, principal.why) == ("", "finding")
