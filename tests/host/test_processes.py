"""What is said of processes that are not ours."""

import os
import shutil
import subprocess

from doors import until

from vbench.host import processes


def test_a_process_whose_name_is_in_another_encoding_is_described(tmp_path):
    program = os.fsencode(tmp_path) + b"/m\xfcller"
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as sleeping:
        try:
            until(lambda: processes.describe(sleeping.pid).startswith(f"pid {sleeping.pid} (m\ufffdller, user "))
        finally:
            sleeping.kill()
