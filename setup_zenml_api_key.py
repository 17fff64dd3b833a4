"""Prepares the Compose stack: secrets in .env, the ZenML server started, a service account's API key in .env.

Needs Docker and Python 3.9 or newer, and nothing installed. Any older Python, 2.7 too, can read this file and gets as
far as saying that it is too old: therefore no annotations, and the import inside.
"""

import sys

OLDEST = (3, 9)


def main():
    """Check the Python that runs this, then hand over; return the exit code."""
    if sys.version_info < OLDEST:
        # Formatted in the way that Python 2 and 3 share, and sys.exit writes to stderr in both.
        sys.exit(
            "error: this needs Python 3.9 or newer, and %s is %d.%d; name another one, such as: "  # noqa: UP031
            "python3.13 setup_zenml_api_key.py" % ((sys.executable,) + sys.version_info[:2])  # noqa: RUF005
        )
    from src.services.stack.run_setup import run_setup  # noqa: PLC0415 - an old Python cannot read it

    return run_setup(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
