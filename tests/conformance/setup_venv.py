"""Makes the virtual environment of the conformance tests, once.

    setup_venv.py VENV REQUIREMENTS

Does nothing if VENV was made from the same requirements.
"""

import pathlib
import subprocess
import sys


def main() -> int:
    venv, requirements = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    wanted = requirements.read_text()
    stamp = venv / "requirements.installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    subprocess.run(
        [venv / "bin/python", "-m", "pip", "install", "--quiet",
         "--disable-pip-version-check", "--requirement", requirements],
        check=True)
    stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
