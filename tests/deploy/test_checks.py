"""The pages about the checks say what the checks do. That each check finds faults is for `make check-deploy` to show,
which has the linters."""

import re
from pathlib import Path

import pytest

from deploy.checks.__main__ import Checks
from deploy.checks.security import BAITS, Finding, _judge, exceptions
from deploy.checks.self_test import CASES
from deploy.checks.tools import PACKAGES, Failed, files, program, run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "checks"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
FINDING = Finding("CKV_K8S_43", "Image should use digest", "kubernetes/aks.yaml", "Deployment.postern.postern")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]


def test_every_exception_stands_on_the_page_with_its_reason():
    written = [[f"`{each['check']}`", f"`{each['file']}`", each["reason"]] for each in exceptions()]
    assert rows("Exceptions") == written


def test_every_exception_is_of_one_kind_of_file_and_has_a_reason():
    for each in exceptions():
        assert each["file"].partition("/")[0].isalpha(), each
        assert len(each["reason"]) > 30, each


def test_every_check_stands_on_the_page():
    assert [row[0].strip("`") for row in rows("What is checked by what")] == list(Checks(ROOT, ROOT).table())


def test_what_the_page_has_installed_is_what_the_checks_need_and_what_ci_installs():
    named = re.search(r"apt-get install (.*)", PAGE)
    assert named
    assert set(named[1].split()) == set(PACKAGES.values())
    ci = dict(re.findall(r"\[(\w+)\]=([\w-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))
    assert set(PACKAGES.items()) - {("openssl", "openssl")} <= set(ci.items())


def test_the_lock_has_every_linter_and_names_no_place_to_have_it_from():
    wanted = (FOLDER / "requirements.in").read_text(encoding="utf-8").splitlines()
    lock = (FOLDER / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {line for line in wanted if line and not line.startswith("#")} <= locked
    assert "://" not in lock
    assert lock.count("--hash=sha256:") >= len(locked)


def test_a_finding_fails_unless_an_exception_covers_it():
    exception = {"check": "CKV_K8S_43", "file": "kubernetes/*.yaml", "reason": "-"}
    assert list(_judge([FINDING], [exception])) == []
    assert list(_judge([FINDING], [])) == [str(FINDING)]
    for other in ({"check": "CKV_K8S_15"}, {"file": "azure/*"}, {"resource": "Pod.*"}):
        assert str(FINDING) in list(_judge([FINDING], [exception | other]))


def test_an_exception_that_covers_nothing_fails():
    exception = {"check": "CKV_K8S_43", "file": "kubernetes/*.yaml", "reason": "-"}
    (reported,) = _judge([], [exception])
    assert "remove it" in reported


def test_a_bait_is_no_finding():
    bait = Finding("CKV_K8S_16", "Privileged", f"bait/kubernetes/{BAITS['kubernetes'][0]}", "Pod.default.bait")
    assert list(_judge([bait], [])) == []


@pytest.mark.process
def test_a_program_that_fails_is_quoted_and_one_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(Failed, match="so it is"):
        run("sh", "-c", "echo so it is >&2; exit 3", folder=tmp_path)
    with pytest.raises(Failed, match="is not installed"):
        program("no-such-linter")
    with pytest.raises(Failed, match="there is no folder"):
        run("sh", "-c", "true", folder=tmp_path / "gone")


def test_a_check_that_has_nothing_to_look_at_fails(tmp_path: Path):
    with pytest.raises(Failed, match=r"has no file \*\.yaml"):
        files(tmp_path, "*.yaml")


def test_every_fault_that_the_checks_are_shown_has_a_word_of_its_own():
    assert all(case.word and case.fault for case in CASES)
    assert len({case.fault for case in CASES}) == len(CASES)
