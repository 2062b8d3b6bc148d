"""The networks that a pipeline may have, by the names that configurations have for them."""

import importlib

NETWORKS = {"ConditionalUNet2DModel": "unet", "CausalUNet2DModel": "causal_unet"}
"""Names, each with the module that holds it."""
DEFAULT_NETWORK = "ConditionalUNet2DModel"


def network_class(name: str) -> type:
    """The network of a name.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in NETWORKS:
        raise ValueError(f"a network is one of {', '.join(NETWORKS)}, got {str(name)[:100]!r}")
    return getattr(importlib.import_module(f"{__package__}.{NETWORKS[name]}"), name)
