"""Where Postern's processes look for modules: never in the working directory, which belongs to the user. A file
`queue.py` or a folder `app` there would take the place of the module that is meant.
"""

import os
from collections.abc import Sequence

OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - this loads no further module
"""The folder that has the package `postern`."""


def without_working_directory(path: Sequence[str], own: str = OWN) -> list[str]:
    """The import path `path` (`sys.path`) without the working directory. The folder of this package stays in any case;
    if it is the working directory, it comes last."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted, so that nothing is found there
        here = os.devnull
    places = [os.path.normpath(os.path.join(here, each)) for each in path]  # noqa: PTH118
    kept = [each for each in places if os.path.realpath(each) != os.path.realpath(here)]
    return kept if own in kept else [*kept, own]
