"""Checks a call of a function before Gradio reads it, and its values before a component reads them."""

import inspect
import json
import re
import reprlib

import gradio as gr
from gradio.blocks import Block

MAX_BODY = 2**16  # bytes of a call, which holds only names and numbers
MAX_SOUND = 2**19  # bytes of a piece of live sound
SESSION = r"[\w-]{1,64}"
PREFIX = "/gradio_api"


class CallError(ValueError):
    """A call that is not understood. The message is a sentence for the person who made the call."""


class Calls:
    """The calls that the page and programs make.

    Args:
        demo: The page.
    """

    def __init__(self, demo: gr.Blocks):
        functions = {
            index: function
            for index, function in demo.fns.items()
            if function.fn is not None and not any(event == "unload" for _, event in function.targets)
        }
        self.queued = {index for index, function in functions.items() if function.queue}
        self.streaming = {index for index, function in functions.items() if function.connection == "stream"}
        self.direct = set(functions) - self.queued
        self.names = {}
        for function in functions.values():
            if function.api_visibility == "public":
                self.names[function.api_name] = list(function.input_parameter_names or parameters(function))

    def checked(self, path: str, body: bytes) -> bytes:
        """Return the body that Gradio gets instead of `body`. It holds only what Gradio needs.

        Raises:
            CallError: if `body` is not a call of one of our functions.
        """
        path = path.removeprefix(PREFIX).rstrip("/")
        if path.startswith("/stream/") and path.endswith("/close"):
            return b"{}"
        call = read_object(body)
        if path == "/reset":
            return json.dumps({"event_id": text_of(call, "event_id")}).encode()
        if path == "/cancel":
            names = {name: text_of(call, name) for name in ("session_hash", "event_id")}
            return json.dumps(names | {"fn_index": self.index(call, self.queued)}).encode()
        if path.startswith("/call/v2/"):
            known = self.names[path.rpartition("/")[2]]
            unknown = [name for name in call if name not in known]
            if unknown or known[0] not in call:
                reason = (
                    f"There is no argument {shown(unknown[0])}" if unknown else f"The argument {known[0]!r} is missing"
                )
                raise CallError(f"{reason}; the arguments are {', '.join(known)}.")
            return json.dumps(call).encode()
        data = call.get("data")
        if not isinstance(data, list):
            raise CallError("A call needs `data`, a list of its arguments.")
        if path.startswith("/call/"):
            return json.dumps({"data": data}).encode()
        if path.startswith("/stream/"):
            session = {"fn_index": self.index(call, self.streaming), "session_hash": text_of(call, "session_hash")}
            return json.dumps(session | {"data": data}).encode()
        functions = self.direct if path == "/run/predict" else self.queued
        checked = {"fn_index": self.index(call, functions), "session_hash": text_of(call, "session_hash")}
        return json.dumps(checked | {"data": data if functions is self.queued else []}).encode()

    @staticmethod
    def index(call: dict, functions: set[int]) -> int:
        index = call.get("fn_index")
        if type(index) is not int or index not in functions:
            raise CallError(f"There is no such function: {shown(index)}.")
        return index


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function.fn).parameters if name != "request"]


def read_object(body: bytes) -> dict:
    try:
        call = json.loads(body)
        json.dumps(call, ensure_ascii=False).encode()  # fails for a lone surrogate, which no answer can hold
    except (ValueError, RecursionError) as error:  # also Unicode errors
        raise CallError("The body of the request is no JSON.") from error
    if not isinstance(call, dict):
        raise CallError("The body of the request must be a JSON object.")
    return call


def text_of(call: dict, name: str) -> str:
    value = call.get(name)
    if not isinstance(value, str) or not re.fullmatch(SESSION, value):
        raise CallError(f"`{name}` must be a word of at most 64 letters, got {shown(value)}.")
    return value


def shown(value) -> str:
    """Return `value` as short text in one line, for a sentence."""
    return reprlib.repr(value)


class Page(gr.Blocks):
    """A `gr.Blocks` that refuses wrong values in one sentence and does not log them."""

    async def preprocess_data(self, block_fn, inputs, state, explicit_call=False):
        if len(inputs) != len(block_fn.inputs) and not block_fn.cancels:
            raise refusal(f"This function has {len(block_fn.inputs)} arguments, got {len(inputs)}.")
        for block, value in zip(block_fn.inputs, inputs, strict=False):
            if problem := problem_of(block, value):
                raise refusal(f"{getattr(block, 'label', None) or 'An argument'} {problem}, got {shown(value)}.")
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error as error:
            raise refusal(" ".join(str(error.message).split())) from None
        except Exception:  # the types are right, so the recording is at fault
            raise refusal("The recording was not found: upload it, and send what the upload has answered.") from None


def refusal(text: str) -> gr.Error:
    return gr.Error(text, print_exception=False)


def problem_of(block: Block, value) -> str | None:
    """Return what is wrong with the type of a component's `value`, or `None` if nothing is wrong."""
    if value is None:
        return None  # an empty field; the handler that needs a value reports it
    if isinstance(block, gr.Audio):
        path = value.get("path") if isinstance(value, dict) else None
        return None if isinstance(path, str) and "\0" not in path else "must be a file that was uploaded"
    if isinstance(block, gr.HTML):
        return None if isinstance(value, dict) else "must be a piece of sound"
    if isinstance(block, (gr.Number, gr.Slider)):
        return problem_of_number(block, value)
    if isinstance(block, gr.CheckboxGroup):
        known = [choice for _, choice in block.choices]
        right = isinstance(value, list) and len(value) <= len(known)
        right = right and all(type(item) in (str, int) and item in known for item in value)
        return None if right else f"must be a list of some of {', '.join(map(str, known))}"
    if isinstance(block, (gr.Dropdown, gr.Radio)):
        known = [choice for _, choice in block.choices]
        return None if isinstance(value, str) and value in known else f"must be one of {', '.join(map(str, known))}"
    if isinstance(block, gr.Checkbox):
        return None if isinstance(value, bool) else "must be true or false"
    return None if isinstance(value, str) and len(value) <= 1000 else "must be a short text"


def problem_of_number(block: gr.Number | gr.Slider, value) -> str | None:
    """Do the same as [`problem_of`] for a number. Gradio would round it to a whole number, or refuse it without naming
    the argument."""
    lowest, highest, whole = block.minimum, block.maximum, block.precision == 0
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18  # false for NaN
    right = right and not (whole and value != int(value))
    right = right and (lowest is None or lowest <= value) and (highest is None or value <= highest)
    if right:
        return None
    limits = "" if lowest is None else f" of at least {lowest}" if highest is None else f" from {lowest} to {highest}"
    return f"must be a {'whole ' if whole else ''}number{limits}"
