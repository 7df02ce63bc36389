"""The model hub: one file fetched, and what stood in the way in one sentence.

Nothing here is called unless the user named a hub id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from labkit.errors import InputError

SECONDS = 20  # until the hub counts as out of reach
ELSEWHERE = "use a shipped model, or give a folder"


def fetch(name: str, file: str) -> Path:
    """A file of a hub model, from the local cache or downloaded. Raises InputError with the remedy.

    The hub is asked once before the download, which would try for half a minute what cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        if found := cached(name, file):
            return found
        get_hf_file_metadata(hf_hub_url(name, file), timeout=SECONDS)
        return Path(hf_hub_download(name, file))
    except Exception as error:  # besides its own errors the library lets those of httpx and of the disk through
        raise InputError(f"model {name!r}: its {file} cannot be fetched; {remedy(name, error)}") from error


def cached(name: str, file: str) -> Path | None:
    """A file of a hub model where it is in the local cache; nothing is asked of the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None


def remedy(name: str, error: BaseException) -> str:
    """What to do about a hub model that could not be read, by the cause under the errors raised on top of it."""
    from huggingface_hub import errors as hub

    causes = list(_chain(error))

    def some(*kinds: type) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    refused = {cause.response.status_code for cause in causes if isinstance(cause, hub.HfHubHTTPError) and cause.response is not None}
    if some(hub.GatedRepoError):
        return f"it is gated: accept its licence at https://huggingface.co/{name}, then log in with `hf auth login`"
    if "does not recognize this architecture" in str(error):
        return "transformers does not know its architecture: update transformers, or choose a model that it knows"
    if some(hub.RepositoryNotFoundError, hub.HFValidationError) or "not a valid model identifier" in str(error):
        return "the hub shows no such id: check the spelling; if it is private or gated, log in with `hf auth login`"
    if some(hub.OfflineModeIsEnabled) or hub_is_off():
        return f"there is no such folder, it is not in the local cache, and HF_HUB_OFFLINE=1 keeps labkit from the hub: set HF_HUB_OFFLINE=0 and connect once, or {ELSEWHERE}"
    if some(hub.RemoteEntryNotFoundError):
        return "the hub has the model but not this file: choose one that is stored for transformers, in safetensors"
    if refused & {401, 403}:
        return "the hub refuses your access token: log in again with `hf auth login`"
    if 429 in refused:
        return "the hub says there were too many requests: wait some minutes, or log in with `hf auth login`"
    return f"there is no such folder, it is not in the local cache, and the hub cannot be reached: connect once, or {ELSEWHERE}"


def hub_is_off() -> bool:
    """Whether HF_HUB_OFFLINE keeps every library from the hub."""
    from huggingface_hub.constants import is_offline_mode

    return is_offline_mode()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, down to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
