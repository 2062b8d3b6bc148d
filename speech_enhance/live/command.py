"""The command `speech-enhance live`: from a microphone to another device."""

import contextlib
import time

from ..cli import OneLineParser, add_model_options, number
from ..jobs.file import PipelineChoice, UserError, first_line
from ..jobs.standard_streams import say
from ..wording import counted
from .devices import Devices, choose_devices, import_sounddevice, list_devices, open_streams
from .terminal import Keys, StatusLine
from .timing import LATENCIES

MOST_SILENT_SECONDS = 5.0
"""A device that makes no call for this time counts as gone. PulseAudio's null sink sleeps for 2 s."""
LOOK_SECONDS = 0.1
RESERVE_CALLS = 1.5
"""Length of the output's reserve, in computing times of a run of the network."""


def build_parser() -> OneLineParser:
    parser = OneLineParser(
        prog="speech-enhance live",
        description="Turn down the noise of a microphone while it speaks, and give the result to another device, "
        "for calls a virtual one (docs/live.md). The file named live is ./live.",
    )
    parser.add_argument("--input", metavar="DEVICE", help="name, part of it, or number (default: the system's)")
    parser.add_argument("--output", metavar="DEVICE", help="likewise")
    parser.add_argument("--latency", choices=LATENCIES, default="low", help="default: %(default)s")
    parser.add_argument("--record", metavar="FILE", help="also write what goes out to an audio file")
    parser.add_argument("--list-devices", action="store_true", help="show the devices and end")
    parser.add_argument("--rate", type=number(int, 1000, 768000), metavar="HZ", help="default: what the devices take")
    parser.add_argument(
        "--buffer",
        type=number(float, 1, 2000),
        default=50.0,
        metavar="MS",
        help="of each device (default: %(default)s); more, if it crackles",
    )
    parser.add_argument(
        "--channels",
        type=int,
        choices=(1, 2),
        default=1,
        help="of the input; two keep a stereo sound and need more computing (default: %(default)s)",
    )
    add_model_options(parser)
    parser.add_argument(
        "--seconds", type=number(float, 0.1, 1e9), metavar="N", help="end after this time (default: never)"
    )
    return parser


def run_live(arguments: list[str]) -> int:
    """Do what the arguments after `live` ask for and return the exit code."""
    options = build_parser().parse_args(arguments)
    sounddevice = import_sounddevice()
    if options.list_devices:
        print(list_devices(sounddevice))
        return 0
    devices = choose_devices(sounddevice, options.input, options.output, options.rate, options.channels)
    with contextlib.ExitStack() as stack:
        writer = None
        if options.record:
            from ..audio.writer import AudioWriter

            writer = stack.enter_context(AudioWriter(options.record, devices.sampling_rate, devices.num_outputs))
        session = make_session(options, devices, stack, record=writer is not None)
        streams = open_streams(sounddevice, devices, session, options.buffer / 1000)
        say(f"from {devices.input_name!r} to {devices.output_name!r} at {devices.sampling_rate} Hz")
        error = run_session(session, streams, devices, writer, options.seconds)
    if error:  # the recording up to this point is kept
        raise UserError(error)
    return 0


def make_session(options, devices, stack: contextlib.ExitStack, record: bool):
    """Load the model and make a session. The length of its reserve is measured by running the model. What the session
    needs until its end is entered into `stack`."""
    from .backend import one_thread, prefer_onnx
    from .session import LiveSession

    say("loading the model …")
    choice = PipelineChoice(model=options.model or own_model(options.latency), device=options.device, seed=options.seed)
    pipeline, _ = choice.load()
    prefer_onnx(pipeline)
    stack.enter_context(one_thread(pipeline))
    try:
        live = pipeline.live(
            devices.sampling_rate, options.latency, choice.generator(), attenuation_limit_db=options.attenuation_limit
        )
    except ValueError as error:
        raise UserError(first_line(error)) from error
    seconds = live.seconds_of_call(devices.num_inputs)
    reserve = round((RESERVE_CALLS * seconds + 0.02) * devices.sampling_rate)
    return LiveSession(live, devices.num_inputs, devices.num_outputs, min(reserve, devices.sampling_rate), record)


def own_model(latency: str) -> str | None:
    """Return the folder of the bundled model for this latency; `None` means that of the command for files."""
    from ..checkpoints import LIVE_CHECKPOINT

    return str(LIVE_CHECKPOINT) if latency == "low" else None


def run_session(session, streams: list, devices: Devices, writer, most_seconds: float | None) -> str:
    """Run until the user ends the session, the time is over, or something fails. Then report how it went.

    Returns:
        Reason of a failure in one line; empty if nothing failed.
    """
    extra = 0.0
    with Keys() as keys, StatusLine() as line:
        session.start()
        try:
            for stream in streams:
                stream.start()
            extra = sum(stream.latency for stream in streams)
            session.last_input = session.last_output = time.monotonic()
            error = watch_session(session, streams, devices, writer, most_seconds, keys, line)
        except KeyboardInterrupt:
            error = ""
        except sounddevice_error() as problem:
            error = f"a device does not run: {first_line(problem)}"
        finally:
            for stream in streams:
                stream.close(ignore_errors=True)
            session.stop()
    if writer is not None:
        writer.write(session.recorded())
    meters = session.meters
    say(
        f"{meters.seconds:.1f} s, delay {1000 * session.delay / devices.sampling_rate:.0f} ms and {1000 * extra:.0f} "
        "ms of the devices, "
        f"load {100 * meters.load:.0f} %, {counted(meters.gaps, 'gap')}, {counted(meters.lost, 'sample')} lost, "
        f"{counted(meters.num_overloads, 'time')} too slow"
    )
    return error


def watch_session(session, streams: list, devices: Devices, writer, most_seconds, keys: Keys, line: StatusLine) -> str:
    """Show the status and obey the keys until the end. Returns the reason of a failure, or an empty text."""
    started, warned = time.monotonic(), 0
    while most_seconds is None or time.monotonic() - started < most_seconds:
        time.sleep(LOOK_SECONDS)
        if writer is not None:
            writer.write(session.recorded())
        if session.error is not None:
            return f"the network failed: {first_line(session.error)}"
        calls = (devices.input_name, session.last_input), (devices.output_name, session.last_output)
        for stream, (name, called) in zip(streams, calls, strict=True):
            if not stream.active or time.monotonic() - called > MOST_SILENT_SECONDS:
                return f"{name!r} is gone: was it unplugged?"
        if session.meters.num_overloads > warned:
            warned = session.meters.num_overloads
            line.say("this machine is too slow: for some seconds sound is passed on as it is")
        key = keys.read()
        if key == "q":
            break
        if key == "b":
            session.bypass = not session.bypass
        line.show(session, sum(stream.latency for stream in streams))
    return ""


def sounddevice_error() -> type[Exception]:
    """Return the class of error that `sounddevice` raises when a device fails."""
    return import_sounddevice().PortAudioError
