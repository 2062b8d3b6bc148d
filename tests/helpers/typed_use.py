"""How programs use the package. It is never run: pyright checks that it is right and that types are as precise."""

from typing import assert_type

import numpy as np
import torch

from speech_enhance import (
    DEFAULT_CHECKPOINT,
    LiveEnhancer,
    OnnxUNet,
    SpeechEnhancementPipeline,
    make_scheduler,
    preset_settings,
    read_audio,
    write_audio,
)


def enhance_files() -> None:
    pipe = SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT).to("cpu")
    assert_type(pipe, SpeechEnhancementPipeline)
    noisy = read_audio("noisy.wav")
    enhanced = pipe(noisy.audio, noisy.sampling_rate).audios
    assert_type(enhanced, np.ndarray)
    write_audio("enhanced.wav", enhanced, noisy.sampling_rate)
    assert_type(pipe([noisy.audio, noisy.audio], 16000, preset="balanced").audios, list[np.ndarray])
    (_,) = pipe(torch.zeros(1, 16000), 16000, output_type="pt", return_dict=False)


def choose_scheduler_and_network(pipe: SpeechEnhancementPipeline, audio: np.ndarray) -> None:
    pipe.scheduler = make_scheduler("dpmsolver++", pipe.scheduler.config)
    pipe.scheduler, settings = preset_settings("balanced", pipe.scheduler.config)
    pipe.unet = OnnxUNet(pipe.unet, pipe.config.window_frames)
    pipe(audio, 16000, **settings)


def enhance_blocks(pipe: SpeechEnhancementPipeline, audio: np.ndarray) -> None:
    for block in pipe.stream(lambda: iter([audio]), 16000, generator=torch.Generator().manual_seed(1), mix=0.9):
        assert_type(block, np.ndarray)
    live = pipe.live(48000, "low")
    assert_type(live, LiveEnhancer)
    assert_type(live.process(audio), np.ndarray)


def wrong_calls(pipe: SpeechEnhancementPipeline, audio: np.ndarray) -> None:
    pipe(audio, 16000, steps=3)  # pyright: ignore[reportCallIssue]
    pipe("noisy.wav", 16000)  # pyright: ignore[reportCallIssue, reportArgumentType]
