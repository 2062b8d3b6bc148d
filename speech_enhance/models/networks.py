"""The networks that a pipeline may have, by the names that stand in configurations."""

import importlib

NETWORKS = {"ConditionalUNet2DModel": "unet", "CausalUNet2DModel": "causal_unet"}
"""Names of the networks, each with the module that holds the class."""
DEFAULT_NETWORK = "ConditionalUNet2DModel"


def network_class(name: str) -> type:
    """The class of the network with this name.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in NETWORKS:
        raise ValueError(f"a network is one of {', '.join(NETWORKS)}, got {str(name)[:100]!r}")
    return getattr(importlib.import_module(f"{__package__}.{NETWORKS[name]}"), name)
