"""Pipeline folders from elsewhere: what is fetched of them, and what they may say before anything of them is loaded."""

import inspect
import json
from functools import partial
from pathlib import Path

from .schedulers import SCHEDULERS
from .vocoding import VOCODERS

NETWORK = ["speech_enhance", "ConditionalUNet2DModel"]
LARGEST = {"num_train_timesteps": 100_000, "block_out_channels": 8192, "layers_per_block": 64, "in_channels": 65536}
LARGEST |= {"out_channels": 65536, "time_embedding_dim": 65536, "n_fft": 2**20, "num_mel_bins": 4096}
LARGEST |= {"window_frames": 2**20, "sampling_rate": 10**6, "hop_length": 2**20, "noise_floor_span": 2**20}
LARGEST |= {"model_in_dim": 4096, "upsample_initial_channel": 8192, "upsample_rates": 4096}
LARGEST |= {"upsample_kernel_sizes": 4096, "resblock_kernel_sizes": 1024, "resblock_dilation_sizes": 1024}
MOST_LEVELS = ("block_out_channels", "upsample_rates", "resblock_kernel_sizes", "resblock_dilation_sizes")
WRITTEN_BY_DIFFUSERS = ("_class_name", "_diffusers_version", "_name_or_path")
FORBIDDEN = ("quantization_config", "auto_map", "custom_pipeline", "trust_remote_code")
ADVICE = "if this is a folder from elsewhere, do not trust it"


def fetch_folder(repo_id: str, variant: str | None = None, **options) -> str:
    """Fetch the configuration and weights of a pipeline repository into the cache: neither code, which the installed
    package has, nor pickles, samples or reports.

    Args:
        repo_id: `user/name`.
        variant: Of the weights, such as `fp16`; without, no variant is fetched.
        options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download` as in `snapshot_download`; others
            are left out.

    Returns:
        The folder.
    """
    from huggingface_hub import snapshot_download

    accepted = inspect.signature(snapshot_download).parameters
    names = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")
    options = {name: options[name] for name in names if name in accepted and options.get(name) is not None}
    weights = f"*/*.{variant}*.safetensors" if variant else "*/*.safetensors"
    return snapshot_download(
        repo_id,
        allow_patterns=["model_index.json", "*/config.json", "*/scheduler_config.json", weights],
        ignore_patterns=None if variant else "*.*.safetensors",
        **options,
    )


def check_folder(folder: str | Path, variant: str | None = None, trust_remote_code: bool = False, **passed) -> None:
    """Refuse a pipeline folder that is not what `save_pretrained` writes: Diffusers imports whatever module a
    `model_index.json` names, installed or in the working directory, and makes what the other files ask for.

    Args:
        folder: The pipeline.
        variant: Of the weights, such as `fp16`.
        trust_remote_code: Let there be code beside the weights.
        passed: Other arguments of `from_pretrained`; of components among them, files are not looked at.

    Raises:
        ValueError: if there is code beside the weights, which Diffusers would run instead of ours, or if a file asks for anything but our classes, Diffusers' schedulers and plain numbers.
        OSError: if a file is missing or damaged.
    """
    folder = Path(folder)
    index = _read_settings(folder, "model_index.json")
    _check_index(index, folder / "model_index.json")
    if "unet" not in passed:
        if (folder / "unet" / f"{NETWORK[0]}.py").exists() and not trust_remote_code:
            raise ValueError(
                f"{folder} holds code beside its weights, as the branch `remote-code` of a published model does for those "
                "without this package; load the branch without it (`main`), which runs no code of the repository"
            )
        config = _read_settings(folder, "unet/config.json")
        _check_config(config, NETWORK[1], folder / "unet" / "config.json")
        _check_weights(folder / "unet", variant, partial(_empty_network, config))
    if "scheduler" not in passed:
        config = _read_settings(folder, "scheduler/scheduler_config.json")
        _check_config(config, index["scheduler"][1], folder / "scheduler" / "scheduler_config.json")

    if "vocoder" not in passed and index.get("vocoder", [None])[0] is not None:
        config = _read_settings(folder, "vocoder/config.json")
        path, kind = folder / "vocoder" / "config.json", index["vocoder"][1]
        if config.get("architectures") != [kind]:
            raise ValueError(f"{path} is of {config.get('architectures')!r}, not of a {kind}; {ADVICE}")
        _check_entries(config, path)
        _check_weights(folder / "vocoder", variant, partial(_empty_vocoder, kind, config))


def _read_settings(folder: Path, name: str) -> dict:
    path = folder / name
    if not path.is_file():
        raise OSError(f"{folder} has no {name}: it is no whole pipeline folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OSError(f"{path} is damaged ({type(error).__name__}: {error}); get it again with force_download=True") from None  # fmt: skip
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings but {type(content).__name__}; {ADVICE}")
    return content


def _check_index(index: dict, path: Path) -> None:
    from .pipeline import SpeechEnhancementPipeline

    components, settings = SpeechEnhancementPipeline._get_signature_keys(SpeechEnhancementPipeline)
    if index.get("_class_name") != "SpeechEnhancementPipeline":
        raise ValueError(f"{path} is of a {index.get('_class_name')!r}, not of a SpeechEnhancementPipeline")
    for name, value in index.items():
        if name in components:
            allowed = {
                "unet": [NETWORK],
                "scheduler": [["diffusers", kind] for kind in SCHEDULERS.values()],
                "vocoder": [[None, None], *(["transformers", kind] for kind in VOCODERS)],
            }
            if value not in allowed[name]:
                raise ValueError(f"{path}: {name} must not be {value!r}; {ADVICE}")
        elif name not in settings and name not in WRITTEN_BY_DIFFUSERS:
            raise ValueError(f"{path}: unknown entry {name!r}; {ADVICE}")
        elif isinstance(value, (list, dict)):
            raise ValueError(f"{path}: {name} must be a plain value, got {value!r}; {ADVICE}")
    missing = sorted(set(components) - set(index) - set(SpeechEnhancementPipeline._optional_components))
    if missing:
        raise ValueError(f"{path} names no {', '.join(missing)}")
    _check_sizes(index, path)


def _check_config(config: dict, kind: str, path: Path) -> None:
    if config.get("_class_name") != kind:
        raise ValueError(f"{path} is of a {config.get('_class_name')!r}, not of a {kind}; {ADVICE}")
    _check_entries(config, path)


def _check_entries(config: dict, path: Path) -> None:
    forbidden = [name for name in FORBIDDEN if name in config]
    if forbidden:
        raise ValueError(f"{path} must not have {', '.join(forbidden)}; {ADVICE}")
    _check_sizes(config, path)


def _check_sizes(config: dict, path: Path) -> None:
    """A file of a few bytes must not ask for all of the memory."""
    for name, largest in LARGEST.items():
        for value in _flat(config.get(name)):
            if isinstance(value, (int, float)) and not 0 <= value <= largest:
                raise ValueError(f"{path}: {name} must be from 0 to {largest}, got {value}; {ADVICE}")
    for name in MOST_LEVELS:
        if isinstance(config.get(name), list) and len(config[name]) > 16:
            raise ValueError(f"{path}: {name} must name at most 16 levels; {ADVICE}")


def _flat(values) -> list:
    return [item for value in values for item in _flat(value)] if isinstance(values, list) else [values]


def _check_weights(folder: Path, variant: str | None, make_empty) -> None:
    """Every file of weights that would be loaded is whole, and together they hold finite numbers for all of the component
    that `make_empty` gives by its configuration: loaders would fill what is missing with random ones."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob(f"*.{variant}*.safetensors" if variant else "*.safetensors"))
    if not files and not variant:
        raise OSError(
            f"{folder.parent} has no {folder.name}/*.safetensors: weights are loaded from safetensors only, never from a pickle"
        )
    found: dict[str, list[int]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - it is no dict
                    tensor = weights.get_tensor(name)
                    found[name] = list(tensor.shape)
                    if not tensor.float().isfinite().all():
                        raise ValueError(f"{path}: {name} holds NaN or infinite weights")
        except (SafetensorError, OSError) as error:
            raise OSError(f"{path} is damaged ({error}); get it again with force_download=True") from None
    if files:
        _check_shapes(found, make_empty, folder)


def _check_shapes(found: dict[str, list[int]], make_empty, folder: Path) -> None:
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=True):
            component = make_empty()
    except Exception as error:  # whatever an impossible network raises
        raise ValueError(f"{folder / 'config.json'} describes no network ({type(error).__name__}: {error})") from None
    expected = {name: list(tensor.shape) for name, tensor in component.state_dict().items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{folder}: {name} should be of shape {expected.get(name)} by config.json, the weights have "
                f"{found.get(name)}; these files do not belong together"
            )


def _empty_network(config: dict):
    from .unet import ConditionalUNet2DModel

    return ConditionalUNet2DModel.from_config(config)


def _empty_vocoder(kind: str, config: dict):
    import transformers

    vocoder = getattr(transformers, kind)
    return vocoder(vocoder.config_class(**config))
