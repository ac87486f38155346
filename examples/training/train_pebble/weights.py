"""The weights of several networks in one file, as int8 rows."""

from pathlib import Path

from torch import nn

from skipstone.disk.int8_rows import load_rows, save_rows


def save(networks: dict[str, nn.Module], path: Path) -> None:
    """Write the networks' weights to one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    states = {name: network.state_dict() for name, network in networks.items()}
    save_rows({f"{name}/{key}": one for name, state in states.items() for key, one in state.items()}, part)
    part.rename(path)


def restore(networks: dict[str, nn.Module], path: Path) -> None:
    """Fill the networks with the weights of a file."""
    weights = load_rows(path)
    for name, network in networks.items():
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): one for key, one in weights.items() if key.startswith(prefix)}
        network.load_state_dict(own)
