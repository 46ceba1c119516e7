"""Programs write UTF-8 where the machine is set to ASCII."""

import os
import subprocess
import sys

SCRIPT = r"""
import subprocess, sys
from tood_d2.cli.messages import short_errors
with short_errors("program"):
    with open("a.txt", "w") as file:
        file.write("caf\u00e9 \u725b")
    print("caf\u00e9 \u725b")
    child = "open('b.txt', 'w').write('caf\\u00e9')"
    subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_text_is_in_utf8_in_every_locale(tmp_path):
    env = {x: os.environ[x] for x in ("PATH", "LD_LIBRARY_PATH") if x in os.environ}
    env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=env, capture_output=True, check=True
    )
    assert result.stdout == rb"caf\xe9 \u725b" + b"\n"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "café 牛"
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "café"
