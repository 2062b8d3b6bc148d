"""A Python process that imports modules and then forks on request: `ready_python.py SOCKET MODULE …`.

Each process that it forks becomes a child of the nearest ancestor that takes orphans.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import types
from pathlib import Path


def serve(connection: socket.socket) -> dict:
    """Fork for every request until the other end closes. It returns in the forked process, with the request."""
    while True:
        length, files, _, _ = socket.recv_fds(connection, 4, 3)
        if not length:
            os._exit(0)
        request = json.loads(connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
        numbers, other_end = os.pipe()
        middle = os.fork()
        if middle == 0:
            child = os.fork()
            if child:  # now it is an orphan
                os.write(other_end, child.to_bytes(4, "big"))
                os._exit(0)
            for own, file in enumerate(files):
                os.dup2(file, own)
            for file in (*files, numbers, other_end):
                os.close(file)
            connection.close()
            return request
        os.waitpid(middle, 0)
        connection.sendall(os.read(numbers, 4))
        for file in (*files, numbers, other_end):
            os.close(file)


def become(request: dict) -> None:
    """Take over what a new process would have."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    at_once = os.isatty(1) or os.environ.get("PYTHONUNBUFFERED")
    sys.stdout.reconfigure(line_buffering=bool(at_once))
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))


def run(first: str, *rest: str) -> None:
    """Do what Python does with these arguments."""
    if first == "-m":
        sys.argv = list(rest)
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(os.path.abspath(first), run_name="__main__")  # as Python names a script in `__file__`


if __name__ == "__main__":
    del sys.path[0]
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()  # else the end of each process would visit, and copy, all that was imported
    task = serve(socket.socket(fileno=int(sys.argv[1])))
    own = sys.modules["__main__"]  # stays while another module has its name
    become(task)
    run(*task["arguments"])
