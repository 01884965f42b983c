"""``python -m tests.release``: build what a release has, look into it, install it afresh, train with it.

Everything but the upload. Files, their checksums and the SBOM are put into a folder; nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from tests.release import contents, packages
from tests.release.installed import Environment
from tests.release.packages import FOLDERS, ROOT, Failed


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.release", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/release", help="where to put everything")
    parser.add_argument("--torch", default="torch torchvision", help="what pip is asked for first")
    parser.add_argument("--epochs", type=int, default=3, help="of the demo")
    parser.add_argument("--tag", help="the tag of the release; the changelog has to have its version, too")
    parser.add_argument("--build-only", action="store_true", help="install nothing")
    parser.add_argument("--built", type=Path, help="a folder with files that were built: these are checked")
    parser.add_argument("--borrow", action="store_true", help="use the packages of this environment: pip gets none")
    return parser


def main() -> int:
    try:
        _rehearse(parser().parse_args())
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _rehearse(options: argparse.Namespace) -> None:
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.tag:
        (folder / "notes.md").write_text(packages.notes(options.tag), encoding="utf-8")
    built = options.built.resolve() if options.built else folder / "dist"
    if not options.built:
        shutil.rmtree(built, ignore_errors=True)
        packages.build(built, isolated=not options.borrow)
    if wrong := list(contents.mistakes(built)):
        raise Failed("\n".join(wrong))
    packages.run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()])
    listed = list(packages.sums(built))
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {path.name}\n" for path, digest in listed), "utf-8")
    width = max(len(path.name) for path, _ in listed)
    for path, digest in listed:
        print(f"{path.name:{width}}  {path.stat().st_size:>9,} bytes  {digest}", flush=True)
    print(f"built: {len(listed)} files of {len(FOLDERS)} packages, version {packages.version()}", flush=True)
    if not options.build_only:
        _try(options, folder, built)


def _try(options: argparse.Namespace, folder: Path, built: Path) -> None:
    environment = Environment(folder / "fresh")
    if options.borrow:
        environment.borrow(built)
    else:
        environment.install(built, shlex.split(options.torch))
    print(f"delivered: {environment.check(options.epochs)}", flush=True)
    sbom = folder / "packages.cdx.json"
    print(f"{sbom}: {environment.sbom(sbom, validated=not options.borrow)} components")


if __name__ == "__main__":
    sys.exit(main())
