"""The page: its components, and the handler for each event."""

import json
import os
from dataclasses import astuple
from pathlib import Path
from typing import Any

import gradio as gr
import texts
from calls import Page
from files import PREVIEW_SECONDS
from handlers import NO_LIMIT_DB, Handlers
from live_tab import live_tab
from models import FIRST
from results import message, ready_value
from serving import Limits, Settings

from speech_enhance.models.schedulers import PRESETS, SCHEDULERS

EXAMPLES = {
    "workshop": "Workshop\nfan and keys",
    "street": "Street\ntraffic, stereo",
    "telephone": "Telephone\nhiss and hum",
}
PLAIN: dict[str, Any] = {"apply_default_css": False}  # only page.css styles HTML components
STEPS = [1, 2, 4, 8, 16]
ESTIMATES = [1, 3, 6, 12]
DEREVERBS = [0, 0.25, 0.5, 0.75, 1]
PURPOSES = {"fast": "quickest", "balanced": "for most"}  # shown until there is a recording
DEFAULT = "balanced"
HINT = "Take an example, or upload or record speech and press Enhance."
COMPARE_HINT = "Choose what to compare, then press Compare."


def tell_client(selector: str) -> str:
    """Return a script that replaces the last input of a handler by what the browser says about itself."""
    return f"(...values) => [...values.slice(0, -1), window.speechPage.client({selector!r})]"


def build_page(handlers: Handlers, limits: Limits, folder: Path, model: str | None, code_url: str | None) -> gr.Blocks:
    """Build the `gr.Blocks` of the demo. `folder` holds its script and examples; `model` and `code_url` are linked."""
    age = limits.delete_after_seconds
    with Page(
        title="Speech enhancement by diffusion", analytics_enabled=False, delete_cache=(min(age, 60), age)
    ) as demo:
        gr.HTML(texts.intro(model, code_url, os.environ.get("SPACE_ID")), elem_id="intro", **PLAIN)
        client = gr.Textbox(visible=False)
        script = (folder / "player.js").read_text(encoding="utf-8")
        with gr.Row(elem_id="content"):
            with gr.Column(scale=2, min_width=340, elem_id="input"):
                audio, examples = recording_input(limits)
                chosen, controls = enhance_controls(handlers, limits, audio, demo)
                gr.HTML(texts.privacy(limits), elem_classes="small", **PLAIN)
            with gr.Column(scale=4, min_width=340, elem_id="output"), gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Listen", id="listen"):
                    player = gr.HTML(
                        ready_value(folder / "examples" / "ready"),
                        html_template="",
                        js_on_load=script,
                        elem_id="player",
                        **PLAIN,
                    )
                    table = gr.HTML("", elem_id="facts", **PLAIN)
                with gr.Tab("Compare", id="compare"):
                    compare_tab(handlers, limits, script, audio, chosen[0], client)
                if not os.environ.get("SPACES_ZERO_GPU"):  # ZeroGPU lends a GPU only for single calls
                    with gr.Tab("Live", id="live-tab"):
                        live_tab(handlers.live, limits, folder)
                with gr.Tab("API", id="api"):
                    gr.HTML(texts.snippets(), **PLAIN)
                with gr.Tab("About", id="about"):
                    gr.HTML(texts.about(limits, model, code_url), **PLAIN)
        status, download, start, cancel, speeds = controls
        event = {"fn": handlers.show_enhanced, "inputs": [audio, *chosen, client], "js": tell_client("#player")}

        def runs(trigger) -> None:
            wire(trigger, event, [status, player, table, download], start, cancel, handlers, (tabs, speeds))

        runs(start.click)
        program_interface(handlers, [audio, *chosen[1:-1]])
        for name, button in examples.items():
            path = str(folder / "examples" / f"{name}.flac")
            shown = button.click(lambda path=path: path, None, audio, api_visibility="private", show_progress="hidden")
            runs(shown.then)
        demo.unload(handlers.stop)
    return demo


def recording_input(limits: Limits) -> tuple[gr.Audio, dict[str, gr.Button]]:
    """Build the input for a recording: a file, the microphone, or an example."""
    audio = gr.Audio(
        label="Original",
        sources=["upload", "microphone"],
        type="filepath",
        buttons=[],
        elem_id="recording",
        waveform_options=gr.WaveformOptions(waveform_color="#a8a29e", waveform_progress_color="#c2410c"),
    )
    gr.HTML(texts.intake(limits), elem_id="intake", **PLAIN)
    with gr.Row(elem_id="examples"):
        examples = {
            name: gr.Button(label, size="sm", min_width=90, elem_classes="card") for name, label in EXAMPLES.items()
        }
    return audio, examples


def enhance_controls(handlers: Handlers, limits: Limits, audio: gr.Audio, demo: gr.Blocks):
    """Build the controls of one run. Returns the inputs of the handler from the model to the preview, then status,
    download, start, cancel and speeds."""
    titles = {name: name.capitalize() for name in PRESETS}
    preset = gr.Radio(
        [(title, name) for name, title in titles.items()], value=DEFAULT, label="Preset", elem_id="preset"
    )
    preview = gr.Checkbox(
        label=f"Preview: only the {PREVIEW_SECONDS} s with most speech", visible=False, elem_id="preview"
    )
    with gr.Row(elem_id="start"):
        start = gr.Button("Enhance", variant="primary", elem_id="enhance", min_width=120, scale=3)
        cancel = gr.Button("Cancel", elem_id="cancel", interactive=False, min_width=90, scale=1)
    status = gr.HTML(message("hint", HINT), elem_id="status", **PLAIN)
    download = gr.DownloadButton("Download", visible=False, elem_id="download")
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        models = handlers.models.choices
        model = gr.Radio(
            models,
            value=FIRST,
            label="Model",
            info="the large one is better and slower",
            visible=len(models) > 1,
            elem_id="model",
        )
        scheduler, steps, estimates = preset_controls(limits)
        seed = gr.Number(0, label="Seed", info="another one is another guess", precision=0, minimum=0)
        limit = gr.Slider(
            0,
            NO_LIMIT_DB,
            NO_LIMIT_DB,
            step=1,
            label="Attenuation limit (dB)",
            info=f"turn nothing down by more than this; {NO_LIMIT_DB} is no limit",
        )
        mix = gr.Slider(0, 1, 1, step=0.05, label="Wet/dry", info="1 is all enhanced, 0 the original")
        dereverb = gr.Slider(
            0,
            1,
            0,
            step=0.05,
            label="Less reverberation",
            info="share of the room's late sound to take away",
            visible=FIRST in handlers.models.with_dereverb,
            elem_id="dereverb",
        )
    speeds = gr.Textbox(handlers.speeds(), visible=False)
    show_with_its_model(dereverb, model, handlers)

    values = {name: astuple(item) for name, item in PRESETS.items()}
    fill = f"(name) => ({json.dumps(values)})[name]"
    parts = [scheduler, steps, estimates]
    preset.input(None, preset, parts, js=fill, api_visibility="private")
    find = f"(...parts) => window.speechPage.presetOf({json.dumps(values)}, parts)"
    gr.on([part.input for part in parts], None, parts, preset, js=find, api_visibility="private")
    costs = [
        [name, titles[name], PURPOSES[name], item.num_inference_steps * item.num_estimates]
        for name, item in PRESETS.items()
    ]
    label = f"(...values) => window.speechPage.presets({json.dumps(costs)}, ...values)"
    seen = [audio.change, speeds.change, model.change, demo.load]
    gr.on(seen, None, [audio, speeds, model], [preset, preview], js=label, api_visibility="private")
    chosen = [model, scheduler, steps, estimates, seed, limit, mix, dereverb, preview]
    return chosen, (status, download, start, cancel, speeds)


def show_with_its_model(dial: gr.Slider | gr.CheckboxGroup, model: gr.Radio, handlers: Handlers) -> None:
    """Show the dial for reverberation while a model is chosen that was trained for it; else it is hidden and off."""
    known = handlers.models.with_dereverb
    change = f"(name) => window.speechPage.dial({json.dumps(known)}, name, {json.dumps(dial.value)})"
    model.change(None, model, dial, js=change, api_visibility="private")


def program_interface(handlers: Handlers, inputs: list) -> None:
    """Offer the run as a function for programs."""
    gr.Button(visible=False).click(
        handlers.enhance,
        inputs,
        [gr.File(label="enhanced", visible=False), gr.JSON(label="facts", visible=False)],
        api_name="enhance",
        concurrency_id="model",
        api_description="Enhance one recording; returns the enhanced file, in the format of the upload, and "
        "the facts of "
        "the run: duration in seconds, sampling_rate, channels, scheduler, num_inference_steps, num_estimates, "
        "evaluations "
        "of the network per window, seconds of computing.",
    )


def preset_controls(limits: Limits) -> tuple[gr.Dropdown, gr.Slider, gr.Slider]:
    """Build the controls for scheduler, steps and estimates, set as in the default preset."""
    chosen = Settings()
    with gr.Row():
        scheduler = gr.Dropdown(
            list(SCHEDULERS), value=chosen.scheduler, label="Scheduler", info="how the diffusion is solved"
        )
        steps = gr.Slider(
            1, limits.max_steps, chosen.num_inference_steps, step=1, label="Steps", info="of the scheduler"
        )
        estimates = gr.Slider(
            1,
            limits.max_estimates,
            chosen.num_estimates,
            step=1,
            label="Estimates",
            info="runs from different noise, frequencies and windows, averaged",
        )
    return scheduler, steps, estimates


def compare_tab(
    handlers: Handlers, limits: Limits, script: str, audio: gr.Audio, model: gr.Radio, client: gr.Textbox
) -> None:
    """Build the tab that compares settings. Visitors hear and see the results, and read them in a table."""
    gr.HTML(
        "<p>Everything that a preset is made of can be compared: the scheduler, which decides at which noise "
        "levels the "
        "network is asked; its steps; and estimates that are averaged. One step is the same with every scheduler. "
        f"Comparisons hear the first {limits.compare_seconds} s, with at most {limits.max_comparisons} settings.</p>",
        elem_classes="small",
        **PLAIN,
    )
    presets = gr.CheckboxGroup(
        [(name.capitalize(), name) for name in PRESETS],
        value=list(PRESETS),
        label="Presets",
        elem_id="compare-presets",
    )
    dereverbs = gr.CheckboxGroup(
        DEREVERBS,
        value=[0],
        label="Less reverberation",
        info="share of the room's late sound to take away",
        visible=FIRST in handlers.models.with_dereverb,
        elem_id="compare-dereverb",
    )
    show_with_its_model(dereverbs, model, handlers)
    with gr.Accordion("Schedulers, steps and estimates", open=False):
        schedulers = gr.CheckboxGroup(list(SCHEDULERS), value=["euler-ancestral"], label="Schedulers")
        with gr.Row():
            steps = gr.CheckboxGroup(STEPS, value=[4], label="Steps", min_width=200)
            estimates = gr.CheckboxGroup(ESTIMATES, value=[1], label="Estimates", min_width=200)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
    with gr.Row():
        start = gr.Button("Compare", variant="primary", elem_id="compare", min_width=120, scale=3)
        cancel = gr.Button("Cancel", elem_id="compare-cancel", interactive=False, min_width=90, scale=1)
    status = gr.HTML(message("hint", COMPARE_HINT), elem_id="compare-status", **PLAIN)
    player = gr.HTML(None, html_template="", js_on_load=script, elem_id="compare-player", **PLAIN)
    table = gr.HTML("", elem_id="compare-table", **PLAIN)
    inputs = [audio, model, presets, schedulers, steps, estimates, dereverbs, seed, client]
    event = {"fn": handlers.show_comparison, "inputs": inputs, "js": tell_client("#compare-status")}
    wire(start.click, event, [status, player, table], start, cancel, handlers)


def wire(
    trigger, event: dict, outputs: list, start: gr.Button, cancel: gr.Button, handlers: Handlers, shown: tuple = ()
) -> None:
    """Make `trigger` run `event` with a progress bar over the first of `outputs`, and make `cancel` stop it. `shown` is
    empty or holds the tabs, of which the one to listen is opened, and the component that keeps the measured speeds."""
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    status = outputs[0]
    tabs, speeds = [shown[0]] if shown else [], [shown[1]] if shown else []

    def begin():
        return [
            gr.Button(interactive=False),
            gr.Button(interactive=True),
            "",
            *(gr.Tabs(selected="listen") for _ in tabs),
        ]

    def end():
        return [gr.Button(interactive=True), gr.Button(interactive=False), *(handlers.speeds() for _ in speeds)]

    busy = trigger(begin, None, [start, cancel, status, *tabs], **quiet)
    run = busy.then(
        **event,
        outputs=outputs,
        api_visibility="private",
        concurrency_id="model",
        show_progress_on=status,
        trigger_mode="once",
    )
    for ended in (run.then, run.failure):  # after a refusal Gradio calls only the second, otherwise only the first
        ended(end, None, [start, cancel, *speeds], **quiet)
    run.failure(None, None, status, js="() => window.speechPage.refusal()", api_visibility="private")
    # a waiting run is taken out of the queue; a computing run is stopped
    cancel.click(handlers.cancel, None, [status, start, cancel], cancels=[run], **quiet)
