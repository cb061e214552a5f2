"""Reading and performing a Dockerfile: what is not understood is refused, and never skipped."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from deploy.container.empty_root import DOCKERFILE, Build, Image
from deploy.container.instructions import Ignored, NotUnderstood, needed, read_instructions, stages_of
from tests.table import table


def build(folder: Path, dockerfile: str, ignore: str = "", target: str | None = None) -> Image:
    """Perform a Dockerfile in this folder; what comes of it is in `out`."""
    (folder / "Dockerfile").write_text(dockerfile, "ascii")
    (folder / "Dockerfile.dockerignore").write_text(ignore, "ascii")
    return Build(folder / "out", dockerfile=folder / "Dockerfile", context=folder).run(target)


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("ADD https://example.com/x /", "is an instruction that is not supported"),
        ("ONBUILD RUN true", "is an instruction that is not supported"),
        ("RUN --network=none true", "has a flag that is not supported here: network"),
        ("RUN --mount=type=secret,id=x true", "mounts something other than a cache"),
        ("RUN --mount=type=cache,target=/var/cache/apt true", "not pip's"),
        ("RUN <<EOF", "has a here-document"),
        ("COPY --chmod=777 a /", "has a flag that is not supported here: chmod"),
        ("COPY nowhere /", "names a path that does not exist"),
        ("COPY --from=unknown /a /", "is not a stage before this one"),
        ("ENV A=${NOBODY_SET_IT}", "has a variable that is not set"),
        ("ENV A=${B:-x}", "is more than a name"),
        ("ENV A", "is not a row of NAME=VALUE"),
        ("USER postern", "is not a number"),
        ("ENTRYPOINT postern serve", "is not in the exec form"),
        ("ENTRYPOINT ['postern']", "is not valid JSON"),
        ("HEALTHCHECK CMD postern health", "is not in the exec form"),
        ("RUN true \\", "it does not end"),
    ],
)
@pytest.mark.process
def test_what_cannot_be_performed_is_rejected_with_its_line(tmp_path: Path, line: str, reported: str):
    with pytest.raises(NotUnderstood, match=reported) as caught:
        build(tmp_path, f"FROM scratch\n{line}\n")
    assert "line 2" in str(caught.value)


def test_a_directive_that_changes_how_lines_are_read_is_rejected():
    with pytest.raises(NotUnderstood, match="directive"):
        read_instructions("# escape=`\nFROM scratch\n")


def test_an_image_that_this_python_cannot_stand_for_is_rejected(tmp_path: Path):
    with pytest.raises(Exception, match=r"cannot replace docker\.io/library/python:3\.9-slim"):
        build(tmp_path, "FROM docker.io/library/python:3.9-slim\n")


def test_a_line_that_goes_on_is_one_instruction_comments_left_out():
    found = read_instructions("# the base\nFROM scratch\nRUN one \\\n # why\n && two\n\nEXPOSE 80\n")
    assert [(each.line, each.name, each.text) for each in found] == [
        (2, "FROM", "scratch"),
        (3, "RUN", "one && two"),
        (7, "EXPOSE", "80"),
    ]


@pytest.mark.process
def test_a_stage_takes_over_from_another_its_tree_and_what_it_says_of_itself(tmp_path: Path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/a.py").write_text("1", "ascii")
    (tmp_path / "flows/.env").write_text("2", "ascii")
    text = (
        "ARG BASE=scratch\nFROM ${BASE} AS first\nARG N=7\nENV A=x B=${N}\nENV A=y:${A}\nWORKDIR /srv\nWORKDIR p\n"
        'USER 7:8\nVOLUME ["/srv/p"]\nEXPOSE 80\nENTRYPOINT ["a", "b"]\nHEALTHCHECK --interval=5s CMD ["c"]\n'
        'LABEL one="two ${N}"\n'
        "FROM scratch AS other\nCOPY nowhere /\n"
        "FROM first AS second\nCOPY flows flows\nFROM first\n"
    )
    image = build(tmp_path, text, "**/.env\n", "second")
    assert (image.env["A"], image.env["B"], image.workdir, image.ids) == ("y:x", "7", "/srv/p", (7, 8))
    assert (image.volumes, image.ports, image.entrypoint, image.health) == (["/srv/p"], ["80"], ["a", "b"], ["c"])
    assert (image.labels, image.health_options) == ({"one": "two 7"}, {"interval": "5s"})
    assert [path.name for path in (tmp_path / "out/root/srv/p/flows").iterdir()] == ["a.py"]
    build(tmp_path, text, "**/.env\n")
    assert list((tmp_path / "out/root/srv/p").iterdir()) == []


@pytest.mark.process
def test_files_are_copied_as_an_engine_copies_them(tmp_path: Path):
    (tmp_path / "folder/deep").mkdir(parents=True)
    for name in ("one", "two", "folder/deep/three"):
        (tmp_path / name).write_text(name, "ascii")
    build(tmp_path, "FROM scratch\nCOPY one /a\nCOPY one two /b/\nCOPY folder /c\nCOPY t* d\nCOPY one ./e/\n")
    root = tmp_path / "out/root"
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == ["a", "b/one", "b/two", "c/deep/three", "d", "e/one"]


@table(
    ("path", "ignored"),
    [
        ("app/postern/ids.py", False),
        ("app/postern/cli/__pycache__/commands.pyc", True),
        ("app/SECURITY.md", True),
        ("README.md", False),
        ("workflows/hello.py", False),
        ("workflows/.env", True),
        ("deploy/container/requirements.lock", False),
        ("deploy/container/postern.env", True),
        ("requirements.lock", True),
        (".env", True),
        (".git/config", True),
        ("tests/conftest.py", True),
        ("var/postern.db", True),
    ],
)
def test_the_builder_sees_nothing_but_what_the_list_allows(path: str, ignored: bool):
    listed = Ignored(DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("ascii"))
    assert (PurePosixPath(path) in listed) is ignored


def test_the_image_without_a_target_has_no_workflow_and_the_target_with_workflows_has_the_repositorys():
    _, stages = stages_of(read_instructions(DOCKERFILE.read_text("ascii")))
    plain = [step for stage in needed(stages, None)[1:] for step in stage.steps if step.name == "COPY"]
    assert [(step.flags, step.text) for step in plain] == [((("from", "builder"),), "/opt/postern /opt/postern")]
    assert [(step.flags, step.text) for step in needed(stages, "with-workflows")[-1].steps] == [
        ((("from", "packages"),), "/srv/packages /srv/packages"),
        ((), "workflows workflows"),
    ]
    with pytest.raises(NotUnderstood, match="has no stage other"):
        needed(stages, "other")


def installing(folder: Path) -> tuple[int, str]:
    """Run the instruction that installs the packages of workflows in this folder; its exit code and what it says."""
    _, stages = stages_of(read_instructions(DOCKERFILE.read_text("ascii")))
    (stage,) = [each for each in stages if each.name == "packages"]
    (run,) = [step.text for step in stage.steps if step.name == "RUN"]
    command = run.replace("python -m pip", f"{sys.executable} -m pip").replace("/srv/packages", f"{folder}/packages")
    (folder / "requirements.lock").write_text("", "ascii")
    environ = {
        "PATH": os.environ["PATH"],
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(folder),
        "HOME": str(folder),
    }
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True)
    return done.returncode, done.stderr


def wheel(folder: Path) -> str:
    """Make a package `rates`, and return its line of `requirements.txt`, with its hash."""
    file = folder / "rates-1.0-py3-none-any.whl"
    meta = "rates-1.0.dist-info"
    with ZipFile(file, "w") as made:
        made.writestr("rates.py", "EUR = 1.1\n")
        made.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: rates\nVersion: 1.0\n")
        made.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{meta}/RECORD", f"rates.py,,\n{meta}/METADATA,,\n{meta}/WHEEL,,\n{meta}/RECORD,,\n")
    return f"rates==1.0 --hash=sha256:{sha256(file.read_bytes()).hexdigest()}"


@pytest.mark.process
def test_the_packages_of_workflows_are_installed_by_their_hashes_and_found_last(tmp_path: Path):
    """By the image's own instruction, and by the line that its Python reads at the start."""
    (tmp_path / "workflows").mkdir()
    line = wheel(tmp_path)
    requirements = tmp_path / "workflows" / "requirements.txt"
    requirements.write_text(line.partition(" ")[0], "ascii")
    code, said = installing(tmp_path)
    assert (code, "Hashes are required" in said) == (1, True)
    requirements.write_text(line, "ascii")
    assert installing(tmp_path) == (0, "")
    assert "echo /srv/packages > /opt/postern/lib/python3.11/site-packages/packages-of-workflows.pth" in (
        DOCKERFILE.read_text("ascii")
    )
    places = tmp_path / "site"
    places.mkdir()
    (places / "packages-of-workflows.pth").write_text(f"{tmp_path}/packages\n", "utf-8")
    (tmp_path / "packages" / "json.py").write_text("raise ImportError", "ascii")
    script = f"import site; site.addsitedir({str(places)!r}); import json, rates; print(rates.EUR)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1.1\n"


@pytest.mark.process
def test_without_a_list_of_packages_there_are_none(tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    assert installing(tmp_path) == (0, "")
    assert [*(tmp_path / "packages").iterdir()] == []
