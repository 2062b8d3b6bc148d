"""Python processes that start at once: they are forked from one that has imported PyTorch, which takes seconds."""

import atexit
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

COMMON = (
    "numpy PIL.Image psutil scipy.signal scipy.stats scipy.optimize soundfile sympy torch torch._dynamo torch.export "
    "torch.distributed.fsdp torch.distributed.checkpoint torch.fx.experimental.symbolic_shapes torch.utils.data"
)
READY = {
    "torch": COMMON,
    "pipeline": f"{COMMON} accelerate speech_enhance.pipelines.speech_enhancement speech_enhance.jobs.file",
}
"""Modules that a process finds imported. `torch` is for processes with settings of the Hub of their own: Hugging Face's
packages read these when they are imported."""

_BECOME_PARENT_OF_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Process(subprocess.Popen):
    """`subprocess.Popen` for `[sys.executable, script or "-m" or "-c", …]`, with PyTorch imported beforehand.

    The process gets the arguments, folder, environment, pipes and files that `Popen` would give it, and is a child of
    the tests. Where Python itself gets options, and on systems other than Linux, it is started as any other.

    Args:
        command: The command.
        ready: The modules that are imported beforehand, a key of [`READY`].
        options: Those of `subprocess.Popen`.
    """

    def __init__(self, command: list, ready: str = "pipeline", **options):
        self._ready = ready
        super().__init__([os.fspath(item) for item in command], **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
        python_options = args[1].startswith("-") and args[1] not in ("-c", "-m")
        if args[0] != sys.executable or python_options or preexec_fn or sys.platform != "linux":
            return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
        pipes = rest[3:9]  # after startupinfo, creationflags and shell
        ends = pipes[0], pipes[3], pipes[5]
        try:
            self.pid = _parent(self._ready).fork(
                arguments=args[1:],
                folder=os.path.abspath(cwd or "."),
                environment=dict(os.environ if env is None else env),
                files=[own if end < 0 else end for own, end in enumerate(ends)],
            )
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)


def run(command: list, ready: str = "pipeline", *, check: bool = False, timeout: float = 300, **options):
    """`subprocess.run` for a [`Process`]."""
    content = options.pop("input", None)
    if content is not None:
        options["stdin"] = subprocess.PIPE
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Process(command, ready, **options) as process:
        try:
            output, errors = process.communicate(content, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    result = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        result.check_returncode()
    return result


class _Parent:
    """A process of `ready_python.py`, which ends with the tests."""

    def __init__(self, ready: str):
        ctypes.CDLL(None).prctl(_BECOME_PARENT_OF_ORPHANS, 1, 0, 0, 0)
        self.socket, other_end = socket.socketpair()
        script = Path(__file__).with_name("ready_python.py")
        command = [sys.executable, script, str(other_end.fileno()), *READY[ready].split()]
        with other_end:
            self.process = subprocess.Popen(
                command, pass_fds=[other_end.fileno()], env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self.socket.close()
        self.process.wait()

    def fork(self, files: list[int], **request) -> int:
        """Fork a process with these three files; returns its number."""
        content = json.dumps(request).encode()
        socket.send_fds(self.socket, [len(content).to_bytes(4, "big")], files)
        self.socket.sendall(content)
        return int.from_bytes(self.socket.recv(4, socket.MSG_WAITALL), "big")


_parent = functools.cache(_Parent)
