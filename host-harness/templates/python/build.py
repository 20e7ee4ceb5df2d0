"""Makes a component of plugin.py: `python build.py OUTPUT`. What it needs is in requirements.txt.

Exit: 0, and the component is at OUTPUT, whole or not at all; otherwise standard error says why.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

WORLD = "reset-totp-plugin"

# Python's own library asks for files, network and more of WASI, which `--stub-wasi` replaces by traps: and with them
# all that is called `wasi:`. So the contract's clock has another name, as long as its own, until the component is
# made; and a later patch of the version, as the library asks for its own clock under the first.
LENT, BUILT = "wasi:clocks/wall-clock@0.2.6", "lent:clocks/wall-clock@0.2.6"


def contract(folder: Path) -> None:
    """Copies wit/ into `folder`, with the other name for the clock."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("wit", folder)
    for file in [folder / "world.wit", folder / "deps/clocks/wall-clock.wit"]:
        file.write_text(file.read_text().replace("wasi:clocks", "lent:clocks").replace("@0.2.0", "@0.2.6"))


def main() -> None:
    output = Path(sys.argv[1]).absolute()
    os.chdir(Path(__file__).parent)
    wit, made = Path("out/wit"), Path("out/plugin.wasm")
    contract(wit)
    tool = ["componentize-py", "--quiet", "--wit-path", str(wit), "--world", WORLD]
    subprocess.run([*tool, "componentize", "--stub-wasi", "plugin", "--output", str(made)], check=True)
    unfinished = output.with_suffix(".part")
    unfinished.write_bytes(made.read_bytes().replace(BUILT.encode(), LENT.encode()))
    unfinished.replace(output)


main()
