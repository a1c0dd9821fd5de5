"""Addresses become verified paths; what is not what its digest says is never used."""

import functools
import hashlib
import http.server
import io
import os
import stat
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile

import pytest

from harness.system import assets, pip_download

VADER = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"


def test_a_local_file_is_taken_if_its_digest_fits(tmp_path):
    file = tmp_path / "data.tsv"
    file.write_text("a\t1\n")
    digest = hashlib.sha256(b"a\t1\n").hexdigest()
    assert assets.fetch(f"path:{file}", digest) == file
    assert assets.fetch(f"path:{file}", None) == file
    with pytest.raises(assets.AssetError, match="it is not used"):
        assets.fetch(f"path:{file}", "0" * 64)


def test_weights_of_a_trial_are_found_by_the_folder_s_former_name(tmp_path):
    (tmp_path / "weights").mkdir()
    assert assets.fetch(f"path:{tmp_path}/adapter", None) == tmp_path / "weights"
    (tmp_path / "adapter").mkdir()
    assert assets.fetch(f"path:{tmp_path}/adapter", None) == tmp_path / "adapter"
    with pytest.raises(assets.AssetError, match="no such file or folder"):
        assets.fetch(f"path:{tmp_path}/head", None)


def test_a_folder_has_a_digest_that_sees_names_and_content(tmp_path):
    (tmp_path / "a").write_text("1")
    first = assets.sha256_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = assets.sha256_of(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, assets.sha256_of(tmp_path)}) == 3


@pytest.mark.parametrize(
    "address",
    ["pypi:name", "pypi:name==1", "hub:owner/name", "hub:owner/name@main", "http://x", "", "pypi:a==1#../../etc"],
)
def test_an_address_that_is_not_one_is_refused(own_cache, address):
    digest = {"f": "0" * 64} if address.startswith("hub") else "0" * 64
    with pytest.raises(assets.AssetError):
        assets.fetch(address, digest)


def test_a_package_is_fetched_once_and_checked_at_every_use(own_cache, monkeypatch):
    address = "pypi:vaderSentiment==3.3.2#additional_resources/hutto_ICWSM_2014.tar.gz/tweets_GroundTruth.txt"
    path = assets.fetch(address, VADER)
    assert len(path.read_text().splitlines()) == 4200
    monkeypatch.setattr(assets, "_download_package", lambda *_: pytest.fail("fetched twice"))
    assert assets.fetch(address, VADER) == path
    assets._fetched.clear()
    assert assets.fetch(address, VADER) == path
    path.write_text("tampered")
    assets._fetched.clear()
    with pytest.raises(assets.AssetError, match="it is not used"):
        assets.fetch(address, VADER)


def test_a_package_with_another_digest_fails_closed(own_cache):
    with pytest.raises(assets.AssetError, match="does not have the SHA-256") as caught:
        assets.fetch("pypi:vaderSentiment==3.3.2#x", "0" * 64)
    assert not isinstance(caught.value, assets.Unreachable)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_a_missing_path_in_a_package_is_named(own_cache):
    with pytest.raises(assets.AssetError, match="no such path"):
        assets.fetch("pypi:vaderSentiment==3.3.2#nowhere.txt", VADER)


@pytest.fixture
def own_pip(monkeypatch):
    """A pip that knows no index but those that a test names."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    return monkeypatch


def _sdist(folder, canary, content="pinned"):
    """A source archive that leaves a canary wherever one executes it: in setup.py, or in its own build backend."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "setup.py": f"open({str(canary)!r}, 'w')\n",
        "backend.py": f"open({str(canary)!r}, 'w')\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "rows.txt": content,
    }
    path = folder / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tape:
        for name, text in files.items():
            item = tarfile.TarInfo(f"thing-1.0/{name}")
            item.size = len(text)
            tape.addfile(item, io.BytesIO(text.encode()))
    return path


def _wheel(folder, content="pinned"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "thing-1.0-py3-none-any.whl"
    about = {"METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n"}
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("rows.txt", content)
        for name, text in about.items():
            bundle.writestr(f"thing-1.0.dist-info/{name}", text)
        bundle.writestr("thing-1.0.dist-info/RECORD", "")
    return path


def _index(folder, *files, digests=True):
    """A simple index (PEP 503) that lists these files of `thing`; returns its folder."""
    page = folder / "simple" / "thing" / "index.html"
    page.parent.mkdir(parents=True)
    anchors = [
        f'<a href="../../{file.relative_to(folder).as_posix()}{f"#sha256={_digest(file)}" * digests}">{file.name}</a>'
        for file in files
    ]
    page.write_text("<!DOCTYPE html><html><body>" + "\n".join(anchors) + "</body></html>")
    return folder / "simple"


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def serve():
    """Folders served on a loopback port: what a network index is to pip."""
    servers = []

    def go(folder):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield go
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("over", ["file", "http"])
def test_a_source_archive_is_fetched_and_nothing_of_it_is_executed(own_cache, own_pip, serve, tmp_path, over):
    file, canary = _sdist(tmp_path / "index" / "files", tmp_path / "canary"), tmp_path / "canary"
    index = _index(tmp_path / "index", file)
    own_pip.setenv("PIP_INDEX_URL", index.as_uri() if over == "file" else f"{serve(tmp_path / 'index')}/simple")
    path = assets.fetch("pypi:thing==1.0#rows.txt", _digest(file))
    assert path.read_text() == "pinned"
    assert not canary.exists()
    # nothing else is left but the note of the digest
    (kept,) = (path for path in (own_cache / "pypi").glob("thing-1.0-*") if path.suffix != ".sha256")
    assert {entry.name for entry in kept.iterdir()} == {"setup.py", "backend.py", "pyproject.toml", "rows.txt"}


def test_a_source_archive_with_another_digest_is_refused_and_not_executed(own_cache, own_pip, tmp_path):
    file = _sdist(tmp_path / "index" / "files", tmp_path / "canary")
    own_pip.setenv("PIP_INDEX_URL", _index(tmp_path / "index", file).as_uri())
    with pytest.raises(assets.AssetError, match="^pypi:thing==1.0: .* does not have the SHA-256 0{64}") as caught:
        assets.fetch("pypi:thing==1.0#rows.txt", "0" * 64)
    assert not isinstance(caught.value, assets.Unreachable)
    assert not (tmp_path / "canary").exists()
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_pip_cannot_start_a_process_while_it_fetches(own_pip, tmp_path):
    file = _sdist(tmp_path / "files", tmp_path / "canary")
    (tmp_path / "out").mkdir()
    words = ["download", "--no-deps", "--no-index", "--dest", str(tmp_path / "out"), str(file)]
    guarded = [sys.executable, "-P", pip_download.__file__, str(tmp_path / "out"), "0" * 64]
    done = subprocess.run([*guarded, *words], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip may start no process" in done.stderr
    assert not (tmp_path / "canary").exists()
    plain = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, check=False)
    assert (tmp_path / "canary").exists(), f"pip alone executes it; without that this test shows nothing: {plain}"


def test_a_wheel_is_fetched(own_cache, own_pip, tmp_path):
    file = _wheel(tmp_path / "index" / "files")
    own_pip.setenv("PIP_INDEX_URL", _index(tmp_path / "index", file).as_uri())
    assert assets.fetch("pypi:thing==1.0#rows.txt", _digest(file)).read_text() == "pinned"


@pytest.mark.parametrize("pinned", [0, 1])
def test_of_files_with_one_name_in_two_indexes_the_pinned_one_is_taken(own_cache, own_pip, tmp_path, pinned):
    files = [_sdist(tmp_path / name / "files", tmp_path / "canary", content=name) for name in ("one", "two")]
    indexes = [_index(file.parents[1], file).as_uri() for file in files]
    own_pip.setenv("PIP_INDEX_URL", indexes[0])
    own_pip.setenv("PIP_EXTRA_INDEX_URL", indexes[1])
    path = assets.fetch("pypi:thing==1.0#rows.txt", _digest(files[pinned]))
    assert path.read_text() == ("one", "two")[pinned]
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("pinned", [0, 1])
def test_of_a_wheel_and_a_source_archive_without_declared_digests_the_pinned_one_is_taken(
    own_cache, own_pip, tmp_path, pinned
):
    folder = tmp_path / "links"
    files = [_sdist(folder, tmp_path / "canary", content="source"), _wheel(folder, content="wheel")]
    own_pip.setenv("PIP_NO_INDEX", "1")
    own_pip.setenv("PIP_FIND_LINKS", str(folder))
    path = assets.fetch("pypi:thing==1.0#rows.txt", _digest(files[pinned]))
    assert path.read_text() == ("source", "wheel")[pinned]
    assert not (tmp_path / "canary").exists()


def test_an_index_that_does_not_answer_is_one_line_without_its_password(own_cache, own_pip):
    own_pip.setenv("PIP_INDEX_URL", "http://me:secret-word@127.0.0.1:9/simple")
    with pytest.raises(assets.Unreachable, match="^pypi:thing==1.0: ") as caught:
        assets.fetch("pypi:thing==1.0#rows.txt", "0" * 64)
    assert "\n" not in str(caught.value)
    assert "secret-word" not in str(caught.value)


def _tar(path, name, content=b"x", link=None):
    with tarfile.open(path, "w:gz") as tape:
        item = tarfile.TarInfo(name)
        if link:
            item.type, item.linkname = tarfile.SYMTYPE, link
        else:
            item.size = len(content)
        tape.addfile(item, None if link else io.BytesIO(content))


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_archives_that_reach_outside_are_refused(tmp_path, name):
    _tar(tmp_path / "a.tar.gz", name)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(name, "x")
    for archive in ("a.tar.gz", "a.zip"):
        with pytest.raises(assets.AssetError):
            assets.unpack(tmp_path / archive, tmp_path / f"out-{archive}")
    assert not (tmp_path.parent / "evil").exists()


def test_a_link_out_of_an_archive_is_refused(tmp_path):
    _tar(tmp_path / "a.tar.gz", "inner/link", link="/etc/passwd")
    with pytest.raises(assets.AssetError):
        assets.unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "_MAX_UNPACKED", 10)
    _tar(tmp_path / "a.tar.gz", "big", b"0" * 11)
    with pytest.raises(assets.AssetError, match="more than 10"):
        assets.unpack(tmp_path / "a.tar.gz", tmp_path / "out")


class _Hub:
    """Stands in for the hub's client: one file, with the digest that the hub declares for it."""

    content = b"weights"
    declared = hashlib.sha256(b"weights").hexdigest()

    def __init__(self, folder):
        self.folder = folder

    def get_paths_info(self, repository, files, revision, repo_type):
        from types import SimpleNamespace

        return [SimpleNamespace(lfs=SimpleNamespace(sha256=self.declared))]

    def hf_hub_download(self, repository, file, revision, repo_type, cache_dir):
        path = self.folder / "download"
        path.write_bytes(self.content)
        return str(path)


REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_a_hub_file_is_checked_against_the_pin_or_the_hubs_own_digest(own_cache, tmp_path, monkeypatch):
    hub = _Hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    address = f"hub:owner/name@{REVISION}"
    folder = assets.fetch(address, {"model.safetensors": hub.declared, "tokenizer.json": None})
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert stat.S_IMODE(os.stat(folder).st_mode) & 0o077 == 0
    with pytest.raises(assets.AssetError, match="it is not used"):
        assets.fetch(address, {"model.safetensors": "0" * 64})
    hub.content = b"changed on the way"
    with pytest.raises(assets.AssetError, match="it is not used"):
        assets.fetch(f"hub:owner/other@{REVISION}", {"model.safetensors": None})


def test_a_hub_that_does_not_answer_is_unreachable(own_cache, monkeypatch):
    class Silent(_Hub):
        def get_paths_info(self, *_, **__):
            raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: Silent(None))
    with pytest.raises(assets.Unreachable, match="owner/name"):
        assets.fetch(f"hub:owner/name@{REVISION}", {"model.safetensors": None})


@pytest.mark.parametrize(("blob", "accepted"), [("right", True), ("wrong", False)])
def test_a_hub_file_outside_lfs_is_checked_by_its_git_id(own_cache, tmp_path, monkeypatch, blob, accepted):
    class Plain(_Hub):
        def get_paths_info(self, *_, **__):
            from types import SimpleNamespace

            real = hashlib.sha1(b"blob 7\0weights").hexdigest()
            return [SimpleNamespace(lfs=None, blob_id=real if blob == "right" else "0" * 40)]

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: Plain(tmp_path))
    if accepted:
        folder = assets.fetch(f"hub:owner/name@{REVISION}", {"tokenizer.json": None})
        assert (folder / "tokenizer.json").read_bytes() == b"weights"
    else:
        with pytest.raises(assets.AssetError, match="not the file of that revision"):
            assets.fetch(f"hub:owner/name@{REVISION}", {"tokenizer.json": None})


@pytest.fixture
def web(monkeypatch):
    """What answers to https: a file by address; anything else is out of reach."""
    files = {}

    def answer(address, timeout):
        if address not in files:
            raise urllib.error.URLError("no route")
        return io.BytesIO(files[address])

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return files


def test_a_published_file_is_fetched_once_and_its_digest_or_the_digits_in_its_name_are_checked(own_cache, web):
    digest = hashlib.sha256(b"weights").hexdigest()
    named, plain = f"https://host/models/net-{digest[:8]}.pth", "https://host/data.bin"
    web |= {named: b"weights", plain: b"weights"}
    paths = [assets.fetch(named, None), assets.fetch(named, digest), assets.fetch(plain, digest)]
    assert [path.read_bytes() for path in paths] == [b"weights"] * 3
    assert paths[0].name == f"net-{digest[:8]}.pth"
    web.clear()
    assets._fetched.clear()
    assert assets.fetch(named, None) == paths[0]
    for path, sha256 in ((paths[0], None), (paths[2], digest)):
        path.write_bytes(b"tampered")
        assets._fetched.clear()
        with pytest.raises(assets.AssetError, match="it is not used"):
            assets.fetch(named if sha256 is None else plain, sha256)


def test_a_published_file_that_is_another_or_cannot_be_had_leaves_nothing(own_cache, web):
    web["https://host/net-00000000.pth"] = b"weights"
    for sha256 in (None, "0" * 64):
        with pytest.raises(assets.AssetError, match="it is not used"):
            assets.fetch("https://host/net-00000000.pth", sha256)
    with pytest.raises(assets.AssetError, match="give its SHA-256"):
        assets.fetch("https://host/net.pth", None)
    with pytest.raises(assets.Unreachable, match="no route"):
        assets.fetch("https://elsewhere/net-00000000.pth", None)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["hard link", "device", "absolute link"])
def test_members_that_are_more_than_files_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tape:
        item = tarfile.TarInfo("inner/member")
        item.type = {"hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "absolute link": tarfile.SYMTYPE}[kind]
        item.linkname = {"hard link": "../../outside", "device": "", "absolute link": "/etc"}[kind]
        tape.addfile(item)
    with pytest.raises(assets.AssetError):
        assets.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_is_capped_and_a_member_that_lies_about_its_size_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("big", b"0" * 5000)
    monkeypatch.setattr(assets, "_MAX_UNPACKED", 1000)
    with pytest.raises(assets.AssetError, match="more than 1000"):
        assets.unpack(tmp_path / "big.zip", tmp_path / "out")
    # The directory at the end of the archive says 10 bytes.
    lying = (tmp_path / "big.zip").read_bytes().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "lying.zip").write_bytes(lying)
    with pytest.raises(assets.AssetError):
        assets.unpack(tmp_path / "lying.zip", tmp_path / "out2")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out2").exists()
