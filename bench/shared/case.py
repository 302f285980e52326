"""case.mjs for Python: options, timing, one line of JSON."""

import argparse
import json
import platform
import time
from collections.abc import Callable


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser.parse_args()


def once(run: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def measure(run: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call, after two that are not counted."""
    run()
    run()
    milliseconds: list[float] = []
    end = time.perf_counter() + seconds
    while len(milliseconds) < 3 or time.perf_counter() < end:
        milliseconds.append(once(run))
    return milliseconds


def report(versions: dict[str, str], **result: object) -> None:
    print(json.dumps({"versions": {**versions, "Python": platform.python_version()}, **result}))
