"""Entry point of ``make demo``: tells the whole story on real services in a few minutes, and draws it."""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx

from src.core.errors import LoopError
from src.services.local.demo.loop import running_loop
from src.services.local.demo.picture import draw
from src.services.local.demo.story import Event, Story, StoryError
from src.services.local.demo.traffic import Traffic
from src.services.local.demo.world import write_source

STOPPED = 130
LAST_LINES = 15


def main() -> int:
    """Return 0 if everything happened as it should, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo.svg"), help="the picture, .svg or .png")
    out: Path = parser.parse_args().out
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if out.suffix not in {".svg", ".png"} or not out.absolute().parent.is_dir():
            raise StoryError(f"OUT={out} must be a .svg or .png file in an existing folder")
        with tempfile.TemporaryDirectory(prefix="demo-") as folder:
            print(f"starting a loop in {folder} and training a first version …", flush=True)  # noqa: T201
            run(Path(folder), out)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201 - the command's own output
        return STOPPED
    print(f"everything is stopped; the picture is {out}")  # noqa: T201 - the command's own output
    return 0


def print_event(event: Event) -> None:
    """One line with its seconds."""
    print(f"{event.seconds:6.1f} s  {event.text}", flush=True)  # noqa: T201 - the command's own output


def run(folder: Path, out: Path) -> None:
    """Run a loop in an empty folder, tell the story, and stop everything. Raises StoryError."""
    start = time.monotonic()
    with running_loop(folder, write_source(folder)) as loop:
        tell(Story(loop, Traffic(loop.url, clock=lambda: time.monotonic() - start), print_event), out)


def tell(story: Story, out: Path) -> None:
    """Tell the story and draw it.

    Raises:
        StoryError: something did not happen; with the last lines of the loop.
    """
    try:
        story.tell()
    except (StoryError, httpx.TransportError) as error:
        lines = story.loop.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise StoryError("\n".join([f"{error}; the last lines of the loop:", *lines])) from error
    draw(out, story.traffic.answers, story.scores, story.events)


if __name__ == "__main__":
    sys.exit(main())
