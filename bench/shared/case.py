"""case.mjs for Python: options, timing, one line of JSON."""

import argparse
import json
import platform
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

LONG_CALL = 15e3

# What waits until the device is done; `use_device` of llama_definition.py sets another one for a GPU.
synchronize: Callable[[], None] = lambda: None


def read_options(**extra: dict[str, object]) -> argparse.Namespace:
    """Options of every script; `extra` names others with their arguments of `add_argument`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name, arguments in extra.items():
        parser.add_argument(f"--{name}", **arguments)
    return parser.parse_args()


def once(run: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    synchronize()
    return (time.perf_counter() - start) * 1e3


def measure(run: Callable[[], object], seconds: float, warm_up: int = 2) -> list[float]:
    """Milliseconds of each call, after some that are not counted; of one call where the first was long."""
    for _ in range(warm_up):
        if once(run) > LONG_CALL:
            return [once(run)]
    milliseconds: list[float] = []
    end = time.perf_counter() + seconds
    while len(milliseconds) < 3 or time.perf_counter() < end:
        milliseconds.append(once(run))
    return milliseconds


def measure_in_turn(runs: dict[str, Callable[[], object]], seconds: float, warm_up: int = 2) -> dict[str, list[float]]:
    """`measure` of several functions by name, whose calls take turns."""
    milliseconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(warm_up):
        for run in runs.values():
            once(run)
    end = time.perf_counter() + seconds * len(runs)
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in runs.items():
            milliseconds[name].append(once(run))
        rounds += 1
    return milliseconds


def measure_steps(train: Callable[[], object], seconds: float, compared: int) -> tuple[float, list[float]]:
    """Milliseconds of the first step, and of each of those after the compared ones."""
    first = once(train)
    if first > LONG_CALL:
        return first, [once(train)]
    for _ in range(1, compared):
        train()
    return first, measure(train, seconds, max(0, 2 - compared))


def peak_bytes() -> int:
    """The most memory that this process has ever occupied."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    unit = 1 if platform.system() == "Darwin" else 1024
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(versions: dict[str, str], **result: object) -> None:
    print(json.dumps({"versions": {**versions, "Python": platform.python_version()}, **result, "peakBytes": peak_bytes()}))
