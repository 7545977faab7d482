"""Lives on, as a service does, until the agent has said something. It maps no TLS library."""

import os
import pathlib
import time


def wait_until_told(what: str) -> None:
    """Until the agent's output (OUTFLOW_TEST_OUTPUT) says so."""
    output = pathlib.Path(os.environ["OUTFLOW_TEST_OUTPUT"])
    end = time.monotonic() + 30
    while what not in (output.read_text() if output.exists() else ""):
        if time.monotonic() > end:
            raise SystemExit(f"{output} does not say {what}")
        time.sleep(0.01)
