"""``python -m benchmarks [name ...] [--quick]``: run all benchmarks, or the named ones.

What belongs here: their names and arguments. Each runs in a process of its own, so that none
inherits the modules and the memory of another; ``python -m benchmarks.<name> --help`` shows what
it can be told.
"""

import argparse
import subprocess
import sys

from benchmarks.report import CHECKOUT, print_machine

QUICK_ARGUMENTS: dict[str, list[str]] = {
    "imports": ["--quick"],
    "startup": ["--repeat", "3"],
    "storage": ["--quick"],
    "indicators": ["--symbols", "50", "--sessions", "600", "--repeat", "2"],
    "sentiment": ["--headlines", "2000"],
    "performance": ["--quick"],
    "paper_book": ["--quick"],
    "backfill": ["--quick"],
    "recorded": ["--quick"],
    "yahoo": ["--quick"],
    "events": ["--repeat", "2"],
    "slack": ["--runs", "2"],
    "job": ["--quick"],
    "serving": ["--quick"],
    "s3": ["--quick"],
}
"""Arguments that make each benchmark a matter of seconds, in the order of running."""


def main(argv: list[str]) -> int:
    """Run the benchmarks one after the other; how many of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(QUICK_ARGUMENTS))
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds each")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.names if name not in QUICK_ARGUMENTS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(QUICK_ARGUMENTS)}")
    print_machine()
    failed = 0
    for name in options.names or QUICK_ARGUMENTS:
        print(f"\n== {name}", flush=True)
        arguments = QUICK_ARGUMENTS[name] if options.quick else []
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        failed += subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
