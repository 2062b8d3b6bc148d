"""Sound files of any layout."""

import os

import numpy as np
import soundfile


def make(path, kind):
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello, this is not audio\n" * 100)
    elif kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "header only":
        soundfile.write(path, np.zeros((0, 1)), 16000)
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    elif kind == "fifo":
        os.mkfifo(path)
