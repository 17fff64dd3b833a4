"""Run the inference service and note how long the longest turn of its event loop takes: a program, not a module."""

import asyncio
import sys
import time

import uvicorn

from src.services.inference import run_inference


class WatchedServer(uvicorn.Server):
    """Prints the longest turn when it stops, in milliseconds of this thread's processor time.

    Time on the clock would tell of the machine's other work, too.
    """

    async def main_loop(self) -> None:
        watching = asyncio.create_task(_watch())
        await super().main_loop()
        watching.cancel()


async def _watch() -> None:
    longest = 0.0
    try:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)
    finally:
        print(f"longest turn: {longest * 1000:.0f} ms", file=sys.stderr)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    run_inference.uvicorn.Server = WatchedServer  # type: ignore[misc] # no other way in from outside
    sys.exit(run_inference.main())
