"""Makes the virtual environment of the conformance tests, once.

    setup_venv.py VENV REQUIREMENTS PACKAGE PROTO

Does nothing if VENV was made from the same requirements, and if PACKAGE, a
folder with a pyproject.toml, and the .proto files that it is built from are
those that were installed.
"""

import hashlib
import pathlib
import subprocess
import sys


def install(venv: pathlib.Path, *arguments: str) -> None:
    subprocess.run(
        [venv / "bin/python", "-m", "pip", "install", "--quiet",
         "--disable-pip-version-check", *arguments], check=True)


def digest_of(*folders: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            # pip leaves copies in build/.
            if (path.suffix in (".py", ".toml", ".proto")
                    and "build" not in path.relative_to(folder).parts):
                digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    venv, requirements, package, proto = map(pathlib.Path, sys.argv[1:])
    wanted = requirements.read_text()
    stamp = venv / "requirements.installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv],
                       check=True)
        install(venv, "--requirement", str(requirements))
        stamp.write_text(wanted)
    sources = digest_of(package, proto)
    package_stamp = venv / "package.installed"
    if not package_stamp.exists() or package_stamp.read_text() != sources:
        install(venv, "--force-reinstall", "--no-deps", str(package))
        package_stamp.write_text(sources)
    return 0


if __name__ == "__main__":
    sys.exit(main())
