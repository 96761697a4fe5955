"""The command ends when its work is done, with its own exit code, whatever threads of libraries still want."""

import subprocess
import sys

from pipelines.config import REPOSITORY

WORK = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pipelines.__main__ import leave

class Kept:
    def __del__(self, write=sys.stdout.write):
        write("taken apart\\n")

kept = Kept()
pool = ThreadPoolExecutor(1)
pool.submit(lambda: time.sleep(0.2) or print("pool"))
threading.Thread(target=lambda: time.sleep(0.4) or print("thread")).start()
atexit.register(print, "at exit")
print("result")
leave(3)
"""


def test_all_work_is_done_and_said_and_the_interpreter_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.split("\n") == ["result", "pool", "thread", "at exit", ""]


def test_a_reader_that_has_gone_is_no_success() -> None:
    program = "import sys, time; from pipelines.__main__ import leave; time.sleep(0.5); print('x'); leave(0)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 1
