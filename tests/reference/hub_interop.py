"""What huggingface_hub makes of a server or of a cache, for tests that want the library's own word on it.

    python tests/reference/hub_interop.py download REPO [REVISION]
    python tests/reference/hub_interop.py offline REPO [REVISION]
    python tests/reference/hub_interop.py scan
    python tests/reference/hub_interop.py lock PATH

The caller sets HF_ENDPOINT and HF_HUB_CACHE, and HF_TOKEN where it wants one. Each prints one JSON object, except for
`lock`, which prints the line "held" once it has the lock and gives it back at the next line, or the end, of its stdin.
A failure of the library is printed as {"error": class, "message": text}, with 1 as the exit status.
"""

import hashlib
import json
import os
import pathlib
import sys

# The library reads these when it is imported.
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
# Nobody's token but the caller's, and no proxy before the loopback interface.
os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "0" if os.environ.get("HF_TOKEN") else "1"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

from huggingface_hub import __version__, scan_cache_dir, snapshot_download  # noqa: E402
from huggingface_hub.utils import WeakFileLock  # noqa: E402


def download(repo: str, revision: str | None = None) -> dict:
    """Downloads a snapshot into the cache."""
    return {"folder": snapshot_download(repo, revision=revision), "version": __version__}


def offline(repo: str, revision: str | None = None) -> dict:
    """What the library finds in the cache without asking anyone."""
    folder = pathlib.Path(snapshot_download(repo, revision=revision, local_files_only=True))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"folder": str(folder), "files": hashes, "version": __version__}


def scan() -> dict:
    """What the library thinks of the cache as a whole."""
    cache = scan_cache_dir()
    repos = {
        repo.repo_id: {
            "size_on_disk": repo.size_on_disk,
            "nb_files": repo.nb_files,
            "revisions": sorted(
                ({"commit": it.commit_hash, "refs": sorted(it.refs)} for it in repo.revisions),
                key=lambda it: it["commit"],
            ),
        }
        for repo in cache.repos
    }
    return {"repos": repos, "warnings": [str(it) for it in cache.warnings], "version": __version__}


def lock(path: str) -> None:
    """Holds the library's lock on a path for as long as the caller wants."""
    with WeakFileLock(path):
        print("held", flush=True)
        sys.stdin.readline()


def main() -> int:
    command = {"download": download, "offline": offline, "scan": scan, "lock": lock}[sys.argv[1]]
    try:
        result = command(*sys.argv[2:])
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        return 1
    if result is not None:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
