"""Answers to the events of the page and of the API."""

import functools
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
from comparisons import comparisons
from files import preview_of, save
from live_tab import LiveHandlers
from models import Models
from results import REMOVED, comparison, facts, message, player
from serving import Limits, RequestError, Run, Settings, Stopped, delete_old_files, open_upload, return_memory
from visitors import Disk, visitor_of

from speech_enhance.audio.files import AudioFile
from speech_enhance.wording import clock_time

STOPPED = "Stopped; nothing was kept."
NO_LIMIT_DB = 60  # the right end of the page's slider


def zero_gpu(function):
    """Give each call of `function` a GPU on Hugging Face's ZeroGPU. Elsewhere `function` stays unchanged."""
    try:
        decorate = getattr(importlib.import_module("spaces"), "GPU", None)
    except ImportError:
        decorate = None
    return decorate(function) if decorate else function


def frees_memory(function):
    """Wrap `function` so that its memory is given back after each call, and not kept for the next one."""

    @functools.wraps(function)
    def wrapped(*arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        finally:
            return_memory()

    return wrapped


class Handlers:
    """Answers events with models that all visitors share.

    Args:
        models: Models that enhance.
        limits: Limits of what is accepted.
        folder: Gradio's folder of temporary files. A file in it is served to anybody who knows its name.
        disk: Count of what visitors write.
    """

    def __init__(self, models: Models, limits: Limits, folder: Path, disk: Disk):
        self.limits = limits
        self.disk = disk
        self.folder = folder
        self.models = models
        self.live = LiveHandlers(models, limits)
        self._on_gpu = zero_gpu(self._run)
        self.running: dict[Path, str | None] = {}  # session of each run, by the path of its stop file
        folder.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self.keep_deleting, daemon=True).start()

    @frees_memory
    def show_enhanced(
        self,
        path,
        model,
        scheduler,
        steps,
        estimates,
        seed,
        limit_db,
        mix,
        dereverb,
        preview,
        client,
        request: gr.Request,
    ):
        """Return the values of status, player, facts and download."""
        try:
            with self.stoppable(request) as stop_file, self.new_folder(request) as folder:
                settings = self.settings(scheduler, steps, estimates, seed, limit_db, mix, dereverb)
                check = stop_check(stop_file)
                recording = open_upload(path, self.limits, check)
                source, start = Path(path), 0.0
                if preview:
                    recording, start = preview_of(recording, check)
                    source = source.with_stem(f"{source.stem[:70]}-preview")
                run = self.run_checked(recording, model, settings, stop_file)
                folder.mkdir(0o700)
                versions = {"Original": recording.audio, "Enhanced": run.audio, REMOVED: recording.audio - run.audio}
                shown = player(versions, recording.sampling_rate, folder, client, columns=1, check=check)
                target = save(source, recording, run, folder, check)
                table = facts(recording, run, settings, check)
        except (RequestError, Stopped) as reason:
            return refusal(reason), None, "", gr.DownloadButton(visible=False)
        seconds = recording.audio.shape[1] / recording.sampling_rate
        part = f" Preview from {clock_time(start)} on; untick it to enhance all." if preview else ""
        text = f"Done: {seconds:.1f} s of audio in {run.seconds:.1f} s.{part}"
        button = gr.DownloadButton(f"Download {target.name}", value=str(target), visible=True)
        return message("done", text), shown, table, button

    @frees_memory
    def show_comparison(
        self, path, model, presets, schedulers, steps, estimates, dereverbs, seed, client, request: gr.Request
    ):
        """Return the values of status, player and table."""
        try:
            with self.stoppable(request) as stop_file, self.new_folder(request) as folder:
                all_settings = comparisons(presets, schedulers, steps, estimates, dereverbs, _whole(seed), self.limits)
                check = stop_check(stop_file)
                recording = open_upload(path, self.limits, check)
                rate = recording.sampling_rate
                audio = recording.audio[:, : self.limits.compare_seconds * rate]
                enhancer = self.models.get(model)
                enhancer.check_work(audio.shape[1] / rate, list(all_settings.values()), self.limits)
                runs = {}
                for index, (name, settings) in enumerate(all_settings.items()):
                    part = (index, len(all_settings))
                    runs[name] = self.run(audio, rate, model, settings, stop_file, name, part)
                folder.mkdir(0o700)
                versions = {"Original": audio} | {name: run.audio for name, run in runs.items()}
                columns = 2 if len(runs) in (2, 3) else 3
                shown = player(versions, rate, folder, client, columns=columns, check=check)
        except (RequestError, Stopped) as reason:
            return refusal(reason), None, ""
        cut = audio.shape != recording.audio.shape
        heard = f"the first {self.limits.compare_seconds} s" if cut else "the recording"
        done = message("done", f"{len(runs)} settings on {heard}: listen, look, compare the cost.")
        return done, shown, comparison(audio, rate, runs)

    @frees_memory
    def enhance(
        self,
        audio,
        scheduler,
        num_inference_steps,
        num_estimates,
        seed,
        attenuation_limit_db,
        mix,
        dereverb,
        request: gr.Request,
    ):
        """Answer a call of the API with `(enhanced file, facts)`. Raises `gr.Error` with a sentence if it cannot be
        served."""
        try:
            with self.stoppable(request) as stop_file, self.new_folder(request) as folder:
                settings = self.settings(
                    scheduler, num_inference_steps, num_estimates, seed, attenuation_limit_db, mix, dereverb
                )
                check = stop_check(stop_file)
                recording = open_upload(audio, self.limits, check)
                run = self.run_checked(recording, None, settings, stop_file)
                folder.mkdir(0o700)
                target = save(Path(audio), recording, run, folder, check)
        except RequestError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Stopped:
            raise gr.Error(STOPPED, print_exception=False) from None
        return str(target), {
            "duration": recording.audio.shape[1] / recording.sampling_rate,
            "sampling_rate": recording.sampling_rate,
            "channels": len(recording.audio),
            "scheduler": settings.scheduler,
            "num_inference_steps": settings.num_inference_steps,
            "num_estimates": settings.num_estimates,
            "evaluations": run.evaluations,
            "seconds": run.seconds,
        }

    def speeds(self) -> str:
        """Return, as JSON for the page, each model's seconds of computing for one evaluation of the network on a second
        of sound."""
        return json.dumps(self.models.speeds)

    def stop(self, request: gr.Request) -> None:
        """Stop the visitor's runs after they pressed cancel or closed the page."""
        self.stop_session(request.session_hash)

    def stop_session(self, session: str | None) -> None:
        """End every run of `session`, also a live one."""
        self.live.stop_session(session)
        for path, running in list(self.running.items()):
            if running == session:
                path.touch()

    def cancel(self, request: gr.Request):
        """Call [`stop`] and return what the page then shows: status, start button, cancel button."""
        self.stop(request)
        return message("hint", STOPPED), gr.Button(interactive=True), gr.Button(interactive=False)

    def run_checked(self, recording: AudioFile, model: str | None, settings: Settings, stop_file: Path) -> Run:
        """Call [`run`] with a whole recording if a request may ask for so much work."""
        rate = recording.sampling_rate
        self.models.get(model).check_work(recording.audio.shape[1] / rate, [settings], self.limits)
        return self.run(recording.audio, rate, model, settings, stop_file, "Enhancing", (0, 1))

    def run(self, audio, sampling_rate: int, model: str | None, *arguments) -> Run:
        """Call `_run`, on ZeroGPU in a separate process, and raise the exception that it returns."""
        result = self._on_gpu(audio, sampling_rate, model, *arguments)
        if isinstance(result, Exception):
            raise result
        self.models.note(model, audio.shape[1] / sampling_rate, result)
        return result

    def _run(
        self,
        audio,
        sampling_rate: int,
        model: str | None,
        settings: Settings,
        stop_file: Path,
        desc: str,
        part: tuple[int, int],
    ) -> Run | Exception:
        """Enhance `part` (index, number of parts) of a request with progress in the page, until `stop_file` exists.

        On ZeroGPU this runs in a separate process, which shares files with the page's process but no memory. Exceptions
        do not get through, so the reason for a missing result is returned.
        """
        progress, started = gr.Progress(), time.monotonic()
        index, parts = part
        progress(index / parts, desc=desc)

        def on_step(done: int, total: int) -> None:
            left = (time.monotonic() - started) * (total - done) / done
            told = f"{desc}, about {left:.0f} s left" if left >= 2 else desc
            progress((index + done / total) / parts, desc=told)

        try:
            return self.models.get(model).enhance(audio, sampling_rate, settings, on_step, stop_check(stop_file))
        except (RequestError, Stopped) as reason:
            return reason

    @contextmanager
    def stoppable(self, request: gr.Request):
        """Yield the path of a stop file: the visitor's run stops as soon as it exists. It is removed afterwards."""
        path = self.folder / f"{uuid4().hex}.stop"
        self.running[path] = request.session_hash
        try:
            yield path
        finally:
            del self.running[path]
            path.unlink(missing_ok=True)

    @contextmanager
    def new_folder(self, request: gr.Request):
        """Yield the path of a folder for results, with a name that cannot be guessed. The results count as files of the
        visitor. The caller makes the folder when there is something to put into it, because folders that are empty for
        long are deleted.

        Raises:
            RequestError: if there is no room for more files, or the disk is full.
        """
        folder = self.folder / uuid4().hex
        with self.disk.reserve(visitor_of(request.client), 0) as charge:
            try:
                yield folder
            except OSError as error:
                print(f"a result cannot be kept: {error}", file=sys.stderr)
                raise RequestError("The server cannot keep the result; try again later.") from error
            finally:
                charge.size = sum(path.stat().st_size for path in folder.glob("*"))

    def keep_deleting(self) -> None:
        """Delete old files again and again, also those of stopped runs and broken uploads. Gradio itself deletes only
        the files that it has given out."""
        age = self.limits.delete_after_seconds
        while True:
            time.sleep(min(age, 60))
            delete_old_files(self.folder, age)

    def settings(self, scheduler, steps, estimates, seed, limit_db, mix, dereverb) -> Settings:
        limit = None if limit_db is None or limit_db >= NO_LIMIT_DB else limit_db
        settings = Settings(scheduler, _whole(steps), _whole(estimates), _whole(seed), limit, mix, dereverb)
        settings.check(self.limits)
        return settings


def stop_check(stop_file: Path) -> Callable[[], None]:
    """Return a `check` (see [`go_on`]) that ends the request as soon as `stop_file` exists."""

    def check() -> None:
        if stop_file.exists():
            raise Stopped(STOPPED)

    return check


def refusal(reason: Exception) -> str:
    """Return the message for a request that was not served."""
    return message("hint" if isinstance(reason, Stopped) else "error", str(reason))


def _whole(value) -> Any:
    """Convert a whole number that a slider sent as a float. Any other value is left to the check of the settings."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
