"""Fetches and checks pipeline folders from elsewhere, before anything in them is loaded."""

import functools
import inspect
import json
import re
import stat
from pathlib import Path

from ..mel.spectrogram import mel_filters
from ..mel.vocoding import VOCODERS, check_vocoder_config
from ..models.int8 import INT8_RANGES, check_int8_ranges
from ..models.limits import check_network_sizes, check_schedule, check_settings
from ..models.networks import NETWORKS, network_class
from ..models.removed_settings import without_removed
from ..models.schedulers import SCHEDULERS, try_scheduler
from ..models.trained_settings import RECORD, check_recorded
from .front_end import FrontEnd, constructor_parameters, setting_parameters
from .model_trials import empty_network, empty_vocoder, saved_scheduler, try_network, try_stage_vocoder
from .weight_files import check_weights

Parameters = dict[str, inspect.Parameter]
PACKAGE = "speech_enhance"
LONGEST_JSON = 2**20
WRITTEN_BY_DIFFUSERS = ("_class_name", "_diffusers_version", "_name_or_path")
WRITTEN_BY_TRANSFORMERS = (
    "architectures",
    "model_type",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)
FORBIDDEN = ("quantization_config", "auto_map", "custom_pipeline", "trust_remote_code")
ADVICE = "if this is a folder from elsewhere, do not trust it"


def fetch_folder(repo_id: str, variant: str | None = None, **options) -> str:
    """Fetch the configuration and weights of a pipeline repository into the cache. Code is not fetched, since the
    installed package has it; neither are pickles, samples and reports.

    Args:
        repo_id: Name of the repository, `user/name`.
        variant: Variant of the weights, such as `fp16`. If it is `None`, or if there is no file of this variant, the
            plain files are fetched.
        options: Options `revision`, `token`, `cache_dir`, `local_files_only`, `force_download` of `snapshot_download`.
            Others are ignored.

    Returns:
        The folder.
    """
    from huggingface_hub import snapshot_download

    accepted = inspect.signature(snapshot_download).parameters
    names = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")
    options = {name: options[name] for name in names if name in accepted and options.get(name) is not None}
    weights = f"*/*.{variant}*.safetensors" if variant else "*/*.safetensors"
    folder = snapshot_download(
        repo_id,
        allow_patterns=["model_index.json", "*/config.json", "*/scheduler_config.json", weights],
        ignore_patterns=None if variant else "*.*.safetensors",
        **options,
    )
    if variant and not any(Path(folder).glob(weights)):
        return fetch_folder(repo_id, None, **options)
    return folder


def check_folder(
    pipeline_class: type,
    folder: str | Path,
    variant: str | None = None,
    trust_remote_code: bool = False,
    **passed,
) -> None:
    """Refuse a pipeline folder unless it is like one that `save_pretrained` writes. Diffusers imports every module that
    a `model_index.json` names, installed or in the working directory, and builds whatever the other files ask for.

    Args:
        pipeline_class: Class of the pipeline, [`SpeechEnhancementPipeline`].
        folder: Folder of the pipeline.
        variant: Variant of the weights, such as `fp16`.
        trust_remote_code: Whether code beside the weights is allowed.
        passed: Other arguments of `from_pretrained`. If a component is among them, its files are not checked.

    Raises:
        ValueError: if there is code beside the weights, which Diffusers would run instead of ours, or if a file asks
        for anything but our classes, Diffusers' schedulers and plain numbers.
        OSError: if a file is missing or damaged.
    """
    folder = Path(folder)
    components = read_components(pipeline_class, folder, passed.keys(), trust_remote_code)
    parameters = setting_parameters(pipeline_class)
    front_end = FrontEnd.of(components["index"], parameters)
    if "unet" not in passed:
        window_frames = components["index"].get("window_frames", parameters["window_frames"].default)
        make = functools.partial(empty_network, components["unet"])
        check_weights(folder / "unet", variant, make, functools.partial(try_network, front_end, window_frames))
    if "vocoder" in components:
        make = functools.partial(empty_vocoder, components["vocoder"])
        check_weights(folder / "vocoder", variant, make, functools.partial(try_stage_vocoder, front_end))
    with _naming(folder / "model_index.json"):
        for view in front_end.views:
            mel_filters(view)
    if "scheduler" not in passed:
        with _naming(folder / "scheduler" / "scheduler_config.json"):
            try_scheduler(saved_scheduler(components["scheduler"]), 1)


def read_components(pipeline_class: type, folder: Path, passed=(), trust_remote_code: bool = False) -> dict[str, dict]:
    """Read and check the settings of a pipeline folder; nothing is built.

    Returns:
        The settings of every component that is not among `passed`, and under `index` those of the pipeline, with the
        ones that the network's record adds.

    Raises:
        ValueError, OSError: as [`check_folder`], except for the weights.
    """
    parameters = setting_parameters(pipeline_class)
    index = _read_own_settings(folder, "model_index.json")
    _check_index(index, parameters, folder / "model_index.json")
    components = {}
    if "unet" not in passed:
        if (folder / "unet" / f"{PACKAGE}.py").exists() and not trust_remote_code:
            raise ValueError(
                f"{folder} holds code beside its weights, as the branch `remote-code` of a published model "
                "does for those "
                "without this package; load the branch without it (`main`), which runs no code of the repository"
            )
        config = _read_own_settings(folder, "unet/config.json")
        _check_network(config, index["unet"][1], parameters, folder / "unet" / "config.json")
        with _naming(folder / "unet" / "config.json"):
            check_recorded(config.get(RECORD) or {}, index)
        index = {**(config.get(RECORD) or {}), **index}
        components["unet"] = config
    if "scheduler" not in passed:
        config = _read_settings(folder, "scheduler/scheduler_config.json")
        _check_scheduler(config, index["scheduler"][1], folder / "scheduler" / "scheduler_config.json")
        components["scheduler"] = config
    if "vocoder" not in passed and index.get("vocoder", [None])[0] is not None:
        config = _read_settings(folder, "vocoder/config.json")
        _check_vocoder(config, index["vocoder"][1], folder / "vocoder" / "config.json")
        components["vocoder"] = config
    with _naming(folder / "model_index.json"):
        FrontEnd.of(index, parameters)
    return components | {"index": index}


def _read_own_settings(folder: Path, name: str) -> dict:
    """Settings of one of our classes and its record of the pipeline's settings, without those that no longer exist."""
    content = _read_settings(folder, name)
    with _naming(folder / name):
        content = without_removed(content)
        if isinstance(content.get(RECORD), dict):
            content[RECORD] = without_removed(content[RECORD])
    return content


def _read_settings(folder: Path, name: str) -> dict:
    path = folder / name
    if not path.exists():
        raise OSError(f"{folder} has no {name}: it is no whole pipeline folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_JSON:
        raise ValueError(f"{path} must be a regular file of at most {LONGEST_JSON} bytes; {ADVICE}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OSError(
            f"{path} is damaged ({type(error).__name__}: {error}); get it again with force_download=True"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings but {type(content).__name__}; {ADVICE}")
    for forbidden in FORBIDDEN:
        if forbidden in content:
            raise ValueError(f"{path} must not have {forbidden}; {ADVICE}")
    return content


class _naming:
    """Puts the name of the file before a message about one of its settings."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None and issubclass(kind, ValueError):
            raise ValueError(f"{self.path}: {error}; {ADVICE}") from error


def _check_index(index: dict, parameters: Parameters, path: Path) -> None:
    if index.get("_class_name") != "SpeechEnhancementPipeline":
        raise ValueError(f"{path} is of a {_short(index.get('_class_name'))}, not of a SpeechEnhancementPipeline")
    allowed = {
        "unet": [[PACKAGE, kind] for kind in NETWORKS],
        "scheduler": [["diffusers", kind] for kind in SCHEDULERS.values()],
        "vocoder": [[None, None], *(["transformers", kind] for kind in VOCODERS)],
    }
    for name, values in allowed.items():
        if name in index and index[name] not in values:
            raise ValueError(f"{path}: {name} must not be {_short(index[name])}; {ADVICE}")
    if missing := sorted({"unet", "scheduler"} - index.keys()):
        raise ValueError(f"{path} names no {', '.join(missing)}")
    unknown = index.keys() - parameters.keys() - allowed.keys() - set(WRITTEN_BY_DIFFUSERS)
    if unknown:
        raise ValueError(f"{path}: unknown entry {_short(min(unknown))}; {ADVICE}")
    _check_written(index, path)
    with _naming(path):
        check_settings({name: value for name, value in index.items() if name in parameters}, parameters)


def _check_network(config: dict, kind: str, parameters: Parameters, path: Path) -> None:
    _check_kind(config, kind, path)
    record = config.get(RECORD) or {}
    with _naming(path):
        check_settings(_own(config), constructor_parameters(network_class(kind)))
        check_network_sizes(_own(config))
        if not isinstance(record, dict) or record.keys() - parameters.keys():
            raise ValueError(f"`{RECORD}` must be settings of a pipeline, got {_short(record)}")
        check_settings(record, parameters)
        check_int8_ranges(config.get(INT8_RANGES) or {})


def _check_scheduler(config: dict, kind: str, path: Path) -> None:
    import diffusers

    _check_kind(config, kind, path)
    with _naming(path):
        check_settings(_own(config), _scheduler_parameters() | constructor_parameters(getattr(diffusers, kind)))
        check_schedule(config)


@functools.cache
def _scheduler_parameters() -> dict[str, inspect.Parameter]:
    """Parameters of all schedulers, since Diffusers keeps the settings of an earlier scheduler for the next one."""
    import diffusers

    classes = [getattr(diffusers, kind) for kind in SCHEDULERS.values()]
    return {name: item for kind in classes for name, item in constructor_parameters(kind).items()}


def _check_vocoder(config: dict, kind: str, path: Path) -> None:
    import transformers

    if config.get("architectures") != [kind]:
        raise ValueError(f"{path} is of {_short(config.get('architectures'))}, not of a {kind}; {ADVICE}")
    _check_written(config, path)
    parameters = _vocoder_parameters(getattr(transformers, kind).config_class)
    with _naming(path):
        own = {name: value for name, value in config.items() if name not in WRITTEN_BY_TRANSFORMERS}
        if unknown := own.keys() - parameters.keys():
            raise ValueError(f"unknown entry {_short(min(unknown))}")
        for name in ("dtype", "torch_dtype"):
            if config.get(name, "float32") not in ("float16", "bfloat16", "float32"):
                raise ValueError(f"`{name}` must be float16, bfloat16 or float32, got {_short(config[name])}")
        check_settings(own, parameters)
        check_vocoder_config({name: item.default for name, item in parameters.items()} | own)


def _vocoder_parameters(config_class) -> dict[str, inspect.Parameter]:
    """Parameters of the vocoder itself, without those that transformers has for every model."""
    own = config_class.__annotations__.keys()
    return {
        name: item
        for name, item in constructor_parameters(config_class).items()
        if name in own and name != "model_type"
    }


def _check_kind(config: dict, kind: str, path: Path) -> None:
    if config.get("_class_name") != kind:
        raise ValueError(f"{path} is of a {_short(config.get('_class_name'))}, not of a {kind}; {ADVICE}")
    _check_written(config, path)


def _check_written(config: dict, path: Path) -> None:
    """Check the entries that Diffusers and transformers write about themselves: all are text, versions look valid."""
    for name in ("_diffusers_version", "_name_or_path", "transformers_version", "model_type"):
        value = config.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{path}: {name} must be text, got {_short(value)}; {ADVICE}")
        if value is not None and name.endswith("_version") and not re.fullmatch(r"\d[\w.+-]{0,50}", value):
            raise ValueError(f"{path}: {name} must be a version, got {_short(value)}; {ADVICE}")


def _own(config: dict) -> dict:
    return {name: value for name, value in config.items() if name not in (*WRITTEN_BY_DIFFUSERS, RECORD, INT8_RANGES)}


def _short(value) -> str:
    """A value of a file from elsewhere, shortened for a message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
