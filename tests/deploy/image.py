"""The image, built once without a container engine, and commands that run in it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

from deploy.container.empty_root import PROJECT, start
from tests.tools import cannot

WHEELS = Path(sys.prefix, "wheels.json")
"""What pip reported when `make setup` made this environment: the address of each wheel."""


@contextmanager
def built_image() -> Iterator[Path]:
    """The folder of a build of the default target, which is gone afterwards."""
    demand_means()
    with tempfile.TemporaryDirectory(prefix="postern-image-") as folder:
        command = [sys.executable, "-m", "deploy.container.empty_root", "--out", folder, "build"]
        environ = os.environ | known_wheels(Path(folder))
        done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Path(folder)


def known_wheels(folder: Path) -> dict[str, str]:
    """Variables by which pip finds the wheels of this environment without an index. The pages of an index list all
    releases of each package, and to read them takes pip two thirds of its time."""
    if not WHEELS.exists():
        return {}
    addresses = [str(each["download_info"]["url"]) for each in json.loads(WHEELS.read_text("utf-8"))["install"]]
    page = folder / "wheels.html"
    page.write_text("\n".join(f'<a href="{escape(each)}">{escape(each)}</a>' for each in addresses), "utf-8")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {page}".strip()}


def run_in(
    image: Path, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the image to its end."""
    command = start(image, argv, environment)
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)


def demand_means() -> None:
    """A root and namespaces must be had. See `tests.tools.cannot`."""
    probe = ["unshare", "--mount", "--pid", "--fork", "true"]
    if os.geteuid() != 0:
        cannot("only root can look into what the image's user owns")
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        cannot("this machine permits no mount and process namespaces")
