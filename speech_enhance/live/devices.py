"""Finds and opens sound devices with `sounddevice`. Each error is explained in one line."""

from dataclasses import dataclass

from ..jobs.file import UserError, first_line

USUAL_RATES = (48000, 44100, 16000)
MOST_OUTPUTS = 2


@dataclass(frozen=True)
class Devices:
    """The input and output devices of the sound.

    Args:
        input, output: Numbers of the devices, as `sounddevice` counts them.
        input_name, output_name: Their names.
        num_inputs, num_outputs: Numbers of channels that are used.
        sampling_rate: Samples per second.
    """

    input: int
    output: int
    input_name: str
    output_name: str
    num_inputs: int
    num_outputs: int
    sampling_rate: int


def import_sounddevice():
    """Import the module `sounddevice`.

    Raises:
        UserError: if the package or the library PortAudio is missing.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise UserError("live sound needs the package sounddevice: pip install sounddevice") from error
    except OSError as error:
        raise UserError(
            "live sound needs the library PortAudio, which was not found; on Debian or Ubuntu: apt install "
            "libportaudio2"
        ) from error
    return sounddevice


def list_devices(sounddevice) -> str:
    """Return a list of the devices as text, one device a line."""
    if not len(sounddevice.query_devices()):
        raise UserError("no sound device was found")
    return str(sounddevice.query_devices())


def choose_devices(
    sounddevice, source: str | None, target: str | None, rate: int | None, most_inputs: int = 1
) -> Devices:
    """Find devices by name or number; `None` means the system's default.

    Args:
        sounddevice: The module.
        source: Input device.
        target: Output device.
        rate: Samples per second. `None` means the first rate that both devices accept; the input's usual rate is tried
            first.
        most_inputs: Largest number of channels to take from the input.

    Raises:
        UserError: if there is no such device, or if it refuses the rate.
    """
    if not len(sounddevice.query_devices()):
        raise UserError("no sound device was found")
    ends = {"input": _find(sounddevice, source, "input"), "output": _find(sounddevice, target, "output")}
    most = {"input": most_inputs, "output": MOST_OUTPUTS}
    channels = {kind: min(most[kind], end[f"max_{kind}_channels"]) for kind, end in ends.items()}
    rates = [rate] if rate else list(dict.fromkeys([round(ends["input"]["default_samplerate"]), *USUAL_RATES]))
    for number, candidate in enumerate(rates):
        try:
            for kind, check in (
                ("input", sounddevice.check_input_settings),
                ("output", sounddevice.check_output_settings),
            ):
                check(device=ends[kind]["index"], channels=channels[kind], dtype="float32", samplerate=candidate)
        except sounddevice.PortAudioError as error:
            if number == len(rates) - 1:
                wanted = " or ".join(f"{item}" for item in rates)
                raise UserError(
                    f"the {kind} device {ends[kind]['name']!r} refuses {wanted} Hz ({_reason(error)}); give --rate"
                ) from error
            continue
        break
    return Devices(
        ends["input"]["index"],
        ends["output"]["index"],
        ends["input"]["name"],
        ends["output"]["name"],
        channels["input"],
        channels["output"],
        candidate,
    )


def open_streams(sounddevice, devices: Devices, session, buffer_seconds: float) -> list:
    """Open a stream from the input to [`~LiveSession.take`] and one from [`~LiveSession.give`] to the output. They are
    not started yet. One common stream would stall on some systems and would need devices of the same kind.

    Raises:
        UserError: if a device cannot be opened.
    """
    usual = {"samplerate": devices.sampling_rate, "dtype": "float32", "latency": buffer_seconds}
    name = devices.input_name
    try:
        source = sounddevice.InputStream(
            device=devices.input, channels=devices.num_inputs, callback=session.take, **usual
        )
        name = devices.output_name
        target = sounddevice.OutputStream(
            device=devices.output, channels=devices.num_outputs, callback=session.give, **usual
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"cannot open {name!r}: {_reason(error)}") from error
    return [source, target]


def _find(sounddevice, name: str | None, kind: str) -> dict:
    number = int(name) if name is not None and name.isdecimal() else name
    try:
        return sounddevice.query_devices(number, kind)
    except (ValueError, sounddevice.PortAudioError) as error:
        if name is None:
            raise UserError(f"no default {kind} device; name one with --{kind}, --list-devices shows them") from error
        raise UserError(f"--{kind}: no {kind} device {name!r} ({_reason(error)}); --list-devices shows them") from error


def _reason(error: Exception) -> str:
    return first_line(error)
