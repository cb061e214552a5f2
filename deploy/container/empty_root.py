"""Builds and runs the image without a container engine: performs the Dockerfile in an empty folder, and runs the result
like an engine: as the image's user, with the tree read-only and no capabilities.

    sudo .venv/bin/python -m deploy.container.empty_root check

Only the base image differs: this machine's Python replaces it (`stand_in.py`).
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from deploy.container import instructions
from deploy.container.inside import Inside
from deploy.container.instructions import Ignored, Instruction, NotUnderstood, Stage
from deploy.container.stand_in import ENVIRONMENT, NoMeans, build_binds, build_environment, make_base, pip_cache

PROJECT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
START_SECONDS = 30.0
"""How long `check` waits for the health check to pass."""


@dataclass(slots=True)
class Image:
    """The image's configuration in the Dockerfile."""

    env: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    health_options: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"

    @property
    def ids(self) -> tuple[int, int]:
        """The user's and the group's number."""
        uid, _, gid = self.user.partition(":")
        return int(uid), int(gid or 0)


class Build:
    """One build. It writes the tree `root/` and `image.json` to `out`, and replaces existing ones."""

    def __init__(self, out: Path, *, dockerfile: Path = DOCKERFILE, context: Path = PROJECT) -> None:
        self.out = out
        self.context = context
        self.shared, self.stages = instructions.stages_of(instructions.read_instructions(dockerfile.read_text("utf-8")))
        ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
        self.ignored = Ignored(ignored.read_text("utf-8") if ignored.exists() else "")
        self.made: dict[str, tuple[Path, Image]] = {}
        self.image = Image()
        self.root = out
        self.arguments: dict[str, str] = {}

    def run(self, target: str | None = None) -> Image:
        """Perform the stages that the target needs. Raises NotUnderstood, NoMeans, and RuntimeError if a RUN fails."""
        work = self.out / "stages"
        for old in (work, self.out / "root", self.out / "volumes"):
            shutil.rmtree(old, ignore_errors=True)
        stages = instructions.needed(self.stages, target)
        for number, stage in enumerate(stages):
            self._begin(stage, work / str(number), last=stage is stages[-1])
            for step in stage.steps:
                self._perform(step)
            self.made[stage.name] = (self.root, self.image)
        self.root.rename(self.out / "root")
        shutil.rmtree(work)
        (self.out / "image.json").write_text(json.dumps(asdict(self.image), indent=2), "utf-8")
        return self.image

    def _begin(self, stage: Stage, root: Path, *, last: bool) -> None:
        root.parent.mkdir(parents=True, exist_ok=True)
        self.root, self.arguments = root, {}
        if stage.image in self.made:
            tree, image = self.made[stage.image]
            self.image = Image(**json.loads(json.dumps(asdict(image))))
        else:
            tree, self.image = root.with_name("base"), Image()
            if not tree.exists():
                tree.mkdir()
                if stage.image != "scratch":
                    make_base(tree, stage.image)
        if last and stage.image in self.made:
            tree.rename(root)
        else:
            _copy_tree(tree, root)

    def _perform(self, step: Instruction) -> None:
        """Perform one instruction."""
        table: dict[str, Callable[[Instruction], None]] = {
            "ARG": self._arg,
            "COPY": self._copy,
            "ENTRYPOINT": self._entrypoint,
            "ENV": lambda step: self.image.env.update(step.pairs(self._values)),
            "EXPOSE": lambda step: self.image.ports.extend(step.words(self._values)),
            "HEALTHCHECK": self._healthcheck,
            "LABEL": lambda step: self.image.labels.update(step.pairs(self._values)),
            "RUN": self._run,
            "STOPSIGNAL": self._stop_signal,
            "USER": self._user,
            "VOLUME": lambda step: self.image.volumes.extend(_listed(step)),
            "WORKDIR": self._workdir,
        }
        if step.name not in table:
            raise step.fault("is an instruction that is not supported here")
        known = {"COPY": {"from"}, "RUN": {"mount"}, "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"}}
        if unknown := {name for name, _ in step.flags} - known.get(step.name, set()):
            raise step.fault(f"has a flag that is not supported here: {', '.join(unknown)}")
        table[step.name](step)

    @property
    def _values(self) -> dict[str, str]:
        return self.arguments | self.image.env

    def _arg(self, step: Instruction) -> None:
        name, given, value = step.words(self._values)[0].partition("=")
        if not given and name not in self.shared:
            raise step.fault("has no default")
        self.arguments[name] = value if given else self.shared[name]

    def _workdir(self, step: Instruction) -> None:
        self.image.workdir = str(PurePosixPath(self.image.workdir, step.filled(step.text, self._values)))
        self._place(self.image.workdir).mkdir(parents=True, exist_ok=True)

    def _user(self, step: Instruction) -> None:
        if not all(part.isdecimal() for part in step.text.split(":")):
            raise step.fault("is not a number, which engines need to check that it is not root")
        self.image.user = step.text

    def _entrypoint(self, step: Instruction) -> None:
        self.image.entrypoint = _listed(step)

    def _stop_signal(self, step: Instruction) -> None:
        self.image.stop_signal = signal.Signals[step.text].name

    def _healthcheck(self, step: Instruction) -> None:
        self.image.health = _listed(replace(step, text=step.text.removeprefix("CMD").lstrip()))
        self.image.health_options = dict(step.flags)

    def _copy(self, step: Instruction) -> None:
        *sources, target = step.words(self._values)
        stage = step.flag("from")
        if stage is not None and stage not in self.made:
            raise step.fault(f"copies from {stage}, which is not a stage before this one")
        top = self.made[stage][0] if stage else self.context
        found = [path for source in sources for path in sorted(top.glob(source.strip("/")))]
        found = [path for path in found if stage or PurePosixPath(path.relative_to(top)) not in self.ignored]
        if len(found) < len(sources):
            raise step.fault("names a path that does not exist, or that is ignored")
        place = self._place(str(PurePosixPath(self.image.workdir, target)))
        into = target.endswith("/") or len(found) > 1
        for path in found:
            if path.is_dir() and stage:
                place.mkdir(parents=True, exist_ok=True)
                _copy_tree(path, place)
            elif path.is_dir():
                shutil.copytree(path, place, symlinks=True, dirs_exist_ok=True, ignore=self._left_out)
            else:
                file = place / path.name if into else place
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, file)

    def _left_out(self, folder: str, names: list[str]) -> set[str]:
        at = PurePosixPath(Path(folder).relative_to(self.context))
        return {name for name in names if at / name in self.ignored}

    def _run(self, step: Instruction) -> None:
        argv = step.exec_form() or ["/bin/sh", "-c", step.text]
        binds = build_binds() + [self._cache(step, value) for _, value in step.flags]
        places = [(place, Path(source).is_dir()) for source, place, _ in binds]
        environment = build_environment() | self._values | {"HOME": "/root"}
        inside = Inside(str(self.root), argv, environment, self.image.workdir, self.image.ids, binds, sealed=False)
        made = [new for place, is_folder in places for new in _make_place(self._place(place), is_folder=is_folder)]
        try:
            began, out = time.monotonic(), subprocess.PIPE
            command, nothing = inside.command(), subprocess.DEVNULL
            done = subprocess.run(
                command, cwd=PROJECT, stdin=nothing, stdout=out, stderr=subprocess.STDOUT, text=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"{done.stdout}\nDockerfile line {step.line}: RUN ended with {done.returncode}")
            _say(f"line {step.line}: RUN {time.monotonic() - began:.1f} s")
        finally:
            for new in reversed(made):
                new.rmdir() if new.is_dir() else new.unlink()

    def _cache(self, step: Instruction, value: str) -> tuple[str, str, bool]:
        options = dict(part.split("=", 1) for part in value.split(","))
        if options.keys() != {"type", "target"} or options["type"] != "cache":
            raise step.fault("mounts something other than a cache")
        if PurePosixPath(options["target"]).name != "pip":
            raise step.fault("has a cache that is not pip's")
        return str(pip_cache()), options["target"], False

    def _place(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def start(
    out: Path,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    mounts: Mapping[Path, str] | None = None,
) -> list[str]:
    """The command line that runs `argv`, sealed, in the image that was built in `out`. Its volumes keep their content
    between runs. `mounts` maps folders of this machine to their places, read-only."""
    image = Image(**json.loads((out / "image.json").read_text("utf-8")))
    root, volumes = out.resolve() / "root", out.resolve() / "volumes"
    binds = [("/etc/hosts", "/etc/hosts", True), ("/etc/resolv.conf", "/etc/resolv.conf", True)]
    for place in image.volumes:
        volume = volumes / place.strip("/").replace("/", "-")
        if not volume.exists():  # like an engine's: a copy of the image's folder
            volumes.mkdir(exist_ok=True)
            _copy_tree(root / place.lstrip("/"), volume)
        binds.append((str(volume), place, False))
    for source, place in (mounts or {}).items():
        _make_place(root / place.lstrip("/"), is_folder=True)
        binds.append((str(source.resolve()), place, True))
    values = image.env | {"HOME": image.workdir} | dict(environment or {})
    return Inside(str(root), list(argv), values, image.workdir, image.ids, binds, sealed=True).command()


def check(out: Path) -> None:
    """Build, run the entry point, pass the health check, stop. Raises RuntimeError if one of them fails."""
    began = time.monotonic()
    image = Build(out).run()
    size = subprocess.check_output(["du", "-sm", str(out / "root/opt/postern")], text=True)
    _say(f"built in {time.monotonic() - began:.0f} s; /opt/postern has {size.split()[0]} MB")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment = {"POSTERN_PORT": str(free.getsockname()[1])}
    began = time.monotonic()
    with subprocess.Popen(start(out, image.entrypoint, environment), cwd=PROJECT) as server:
        try:
            while (health := _health(out, image, environment)).returncode != 0:
                if server.poll() is not None or time.monotonic() - began > START_SECONDS:
                    raise RuntimeError(f"the server does not pass its health check: {health.stdout}")
            _say(f"healthy after {time.monotonic() - began:.1f} s: {health.stdout.strip()}")
        finally:
            server.send_signal(signal.Signals[image.stop_signal])
    if server.returncode != 0:
        raise RuntimeError(f"the server ended with {server.returncode}")
    _say("stopped with exit code 0")


def _health(out: Path, image: Image, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        start(out, image.health, environment), cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="empty_root", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, default=PROJECT / "var" / "empty-root", help="the folder for the result")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="build, run, pass the health check, stop")
    build = commands.add_parser("build", help="perform the Dockerfile")
    build.add_argument("--target", help="the stage to build; by default the last one")
    run = commands.add_parser("run", help="run a command in the built image; by default its entry point")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable; several times")
    run.add_argument("--mount", action="append", default=[], metavar="FOLDER:PLACE", help="a folder to mount read-only")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    _become_root()
    try:
        if options.command == "check":
            check(options.out)
        elif options.command == "build":
            Build(options.out).run(options.target)
        else:
            argv = options.argv[options.argv[:1] == ["--"] :]
            image = json.loads((options.out / "image.json").read_text("utf-8"))
            environment = dict(each.split("=", 1) for each in options.env)
            mounts = {Path(folder): place for folder, _, place in (each.partition(":") for each in options.mount)}
            command = start(options.out, argv or image["entrypoint"], environment, mounts)
            os.chdir(PROJECT)
            os.execv(command[0], command)
    except (NoMeans, NotUnderstood, RuntimeError, subprocess.CalledProcessError) as fault:
        sys.exit(f"empty_root: {fault}")


def _become_root() -> None:
    """If this user is not root, continue as root of a user namespace. `unshare` needs newuidmap (Debian's package
    uidmap) and lines for this user in /etc/subuid and /etc/subgid, so that the image's user exists there."""
    if os.geteuid() != 0:
        missing = [name for name in ("unshare", "newuidmap", "newgidmap") if shutil.which(name) is None]
        if missing:
            sys.exit(f"empty_root: run it as root, or install {', '.join(missing)} (util-linux, uidmap)")
        again = [sys.executable, "-m", "deploy.container.empty_root", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--map-auto", *again])


def _make_place(place: Path, *, is_folder: bool) -> list[Path]:
    """Make a mount point, and return the paths that were made, the outermost first."""
    made = [folder for folder in reversed(place.parents) if not folder.exists()]
    if not place.exists():
        made.append(place)
    for folder in made if is_folder or not made else made[:-1]:
        folder.mkdir()
    if made and not is_folder:
        place.touch()
    return made


def _copy_tree(tree: Path, place: Path) -> None:
    """Copy the content of `tree`, with owners, rights and times, into `place`."""
    subprocess.run(["cp", "--archive", "--no-target-directory", "--reflink=auto", tree, place], check=True)


def _listed(step: Instruction) -> list[str]:
    words = step.exec_form()
    if words is None:
        raise step.fault("is not in the exec form, a list in JSON: a shell in between does not forward signals")
    return words


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
