"""A folder uploaded to the Hugging Face hub; `HF_TOKEN` and `HF_ENDPOINT` count as they do in transformers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.system.assets import AssetError


def has_token() -> bool:
    """Return whether there is a token to upload with."""
    from huggingface_hub import get_token

    return get_token() is not None


def readme_of(repository: str) -> str | None:
    """The README.md of a repository, empty where it has none; None where there is no repository, or nothing in it.

    Raises AssetError where the hub does not say.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi()
    with _as_asset_error(f"push={repository}: the hub does not say what is in it"), TemporaryDirectory() as place:
        try:
            found = api.model_info(repository, revision="main")
        except GatedRepoError:  # one of the next kind, too, but the repository is there
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        names = {each.rfilename for each in found.siblings or ()} - {".gitattributes"}
        if "README.md" not in names:
            return "" if names else None
        path = api.hf_hub_download(repository, "README.md", cache_dir=place)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def create(repository: str) -> None:
    """See that a repository is there; a new one is private. Raises AssetError where the hub refuses."""
    from huggingface_hub import HfApi

    with _as_asset_error(f"push={repository}: the hub does not let it be written"):
        HfApi().create_repo(repository, private=True, exist_ok=True)


def upload(folder: Path, repository: str, message: str) -> str:
    """Upload a folder as one commit; returns the commit's address. Raises AssetError where the hub does not take it."""
    from huggingface_hub import HfApi

    with _as_asset_error(f"push={repository}: the hub did not take {folder}"):
        made = HfApi().upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(made.commit_url)


@contextmanager
def _as_asset_error(what: str) -> Iterator[None]:
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    try:
        yield
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise AssetError(f"{what}, {type(error).__name__}: {said}") from None
