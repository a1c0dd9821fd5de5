"""The local paths of a base's files, once they are on this machine."""

from collections.abc import Mapping
from pathlib import Path

from harness.config import ConfigError
from harness.system import assets, hub_models


def located(address: str, sha256: str | Mapping[str, str | None] | None, *, weights: bool) -> Path:
    """The folder, or the file, of a base's address; of a repository without `weights`, of its descriptions alone.

    Raises ConfigError where a repository has changed since its first use, and for one digest of all of its files,
    assets.AssetError where it cannot be had or is not what its digest says.
    """
    if not address.startswith("hub:"):
        return assets.fetch(address, sha256)
    _, is_file, file = address.partition("#")
    if isinstance(sha256, str) and not is_file:
        rule = "a repository has a digest for each file, as in {model.safetensors: …}; null takes them as they are"
        raise ConfigError(f"model.sha256={sha256}: model.address={address}: {rule}")
    try:
        folder, _ = hub_models.model_folder(address, sha256 if isinstance(sha256, dict) else None, weights=weights)
    except hub_models.PinMismatch as error:
        raise ConfigError(f"model.address={error}") from None
    if isinstance(sha256, str):
        assets.verify(folder / file, sha256)
    return folder / file if is_file else folder
