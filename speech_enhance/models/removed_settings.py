"""Settings that published configurations name and that no longer exist."""

from collections.abc import Mapping

REMOVED = {"patch_bands": None, "initial_noise_scale": 1.0}
"""Names of the settings. Each has the value that means what the code does now."""


def without_removed(config: Mapping) -> dict:
    """A configuration without the settings that no longer exist.

    Raises:
        ValueError: if one of them has a value other than that in [`REMOVED`]: the code can no longer do what such a
        value asks for.
    """
    for name, neutral in REMOVED.items():
        if name in config and config[name] != neutral:
            raise ValueError(
                f"`{name}` is no longer a setting and must be {neutral} or left out, got {config[name]!r:.100}"
            )
    return {name: value for name, value in config.items() if name not in REMOVED}
