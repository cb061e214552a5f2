"""The tests of one process: each has a scene of its own, and all share one application."""

from typing import TYPE_CHECKING

from postern.testing.failing import KitFailure
from postern.testing.guard import Guard
from postern.testing.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from postern.testing.server import Server


class Session:
    """The scene of the current test, and the application of all of them. Each is made when it is first asked for.
    `at_end` is called when the test has ended. `kept` returns the folder for what later sessions can use."""

    def __init__(self) -> None:
        self._scene: Scene | None = None
        self._server: Server | None = None
        self._guard = Guard(self._failed)
        self.at_end: list[Callable[[], object]] = []
        self.kept: Callable[[], Path | None] = lambda: None

    @property
    def now(self) -> Scene:
        """The scene of the current test. From here on it uses no network."""
        if self._scene is None:
            self._scene = Scene()
            self._guard.begin()
        return self._scene

    @property
    def server(self) -> "Server":
        """The application, started if it is not there. Raises UserFault if the settings cannot be used."""
        scene = self.now
        if self._server is None:
            from postern.structlog_alone import import_structlog

            import_structlog()
            from postern.testing.server import Server  # it imports all of the program

            self._server = Server.start(kept=self.kept())
        self._server.scene = scene
        self._server.lines.open()
        return self._server

    def check(self) -> None:
        """Raise the first failure that no exception of the test has shown yet."""
        if self._scene is not None and self._scene.failures:
            failures, self._scene.failures = self._scene.failures, []
            raise failures[0].again()

    def finish(self, scene: Scene | None = None) -> None:
        """What the test caused is done, such as runs after a failure; an application in which something goes on is for
        no other test."""
        scene = scene or self._scene
        if scene is not None and self._server is not None and not self._server.spent:
            self._server.spent = self._server.goes_on(scene)
            scene.replies.clear()
        if (server := self._server) is None:
            return
        if scene is not None and (failure := server.crashes.missing(server.on_its_way)):
            scene.failures.append(failure)
        server.lines.pause()

    def end(self) -> None:
        """The test has ended."""
        scene, self._scene, self._guard.on = self._scene, None, False
        functions, self.at_end = self.at_end, []
        for function in functions:
            function()
        if scene is not None and self._server is not None:
            self.finish(scene)
            if self._server.spent:
                self.stop()
            else:
                self._server.forget(keys=scene.keyed)

    def restart(self) -> None:
        """Stop the application, and start it again on the same database."""
        former, scene = self.server, self.now
        former.stop(keep=True)
        from postern.testing.server import Server

        self._server = Server.start(former)
        self._server.scene, self._server.spent = scene, True

    def stop(self) -> None:
        """Stop the application. The next test starts another one."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def close(self) -> None:
        """The session has ended."""
        self.end()
        self.stop()

    def _failed(self, failure: KitFailure) -> None:
        if self._scene is not None:
            self._scene.failures.append(failure)


SESSION = Session()
"""That of this process."""
