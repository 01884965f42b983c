"""``python -m tests.stack``: build the images, bring the stack up, train in it, break it, and print what holds."""

from __future__ import annotations

import argparse
import inspect
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.stack import proofs
from tests.stack.engine import ROOT, Failed
from tests.stack.stack import Stack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/stack", help="with podman it takes 20 GB")
    parser.add_argument(
        "--only", action="append", choices=list(proofs.ALL), help="these proofs; they build on the first"
    )
    parser.add_argument("--list", action="store_true", help="say what would be proved, and do nothing")
    parser.add_argument("--keep", action="store_true", help="leave the containers up, to look at them")
    options = parser.parse_args()
    if options.list:
        for name, proof in proofs.ALL.items():
            print(f"{name}: {inspect.getdoc(proof)}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the stack is taken down then, too
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        stack = Stack(options.folder.resolve())
    except Failed as error:
        print(error, file=sys.stderr)
        return 2
    failed = []
    try:
        stack.down()  # what an interrupted run has left
        began = time.monotonic()
        stack.engine.build()
        kind = "stand-ins for the base images (see docker/README.md)" if stack.has_standins else "the real base images"
        print(f"built with {stack.engine.program} on {kind} in {time.monotonic() - began:.0f} s", flush=True)
        for name in options.only or proofs.ALL:
            began = time.monotonic()
            try:
                for proved in proofs.ALL[name](stack):
                    print(f"  {name}: {proved}", flush=True)
            except Exception as error:  # the others may hold all the same
                failed.append(name)
                print(f"  {name}: FAILED: {type(error).__name__}: {error}\n{stack.log()}", flush=True)
            else:
                print(f"{name}: holds ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        if not options.keep:
            stack.down()
            shutil.rmtree(stack.folder / "secrets")
        stack.close()
    print(f"failed: {', '.join(failed)}" if failed else "everything holds")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
