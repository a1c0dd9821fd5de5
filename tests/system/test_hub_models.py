"""Repositories of the hub: fetched once, pinned at first use, held against the lock file ever after."""

import json
import shutil

import pytest

from harness.config import ConfigError
from harness.model.addresses import located
from harness.system import hub_models
from harness.system.assets import AssetError, Unreachable, sha256_of
from harness.system.hub_models import LOCK, PinMismatch, model_folder, use_lock
from tests.hub import serving

ADDRESS = "hub:lab/model"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serving(tmp_path / "cache", monkeypatch) as made:
        made.repositories["lab/model"] = [commit(tmp_path, "first", b"one")]
        yield made


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    return lambda: monkeypatch.setattr(hub_models, "_pins", hub_models._Pins())


def commit(tmp_path, name, weights):
    folder = tmp_path / name
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "onnx" / "model.safetensors").write_bytes(b"other")
    (folder / "training.log").write_text("long")
    return folder


def test_of_one_file_nothing_else_is_fetched(hub, new_process, tmp_path, monkeypatch):
    new_process()
    use_lock(tmp_path / "study")
    address = f"{ADDRESS}#onnx/model.safetensors"
    folder, sha = model_folder(address, None, weights=True)
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [
        "onnx/model.safetensors"
    ]
    assert hub_models.pinned_address(address) == f"hub:lab/model@{sha}#onnx/model.safetensors"
    assert list(json.loads((tmp_path / "study" / LOCK).read_text())[address]["sha256"]) == ["onnx/model.safetensors"]
    new_process()
    use_lock(tmp_path / "study")
    asked = len(hub.asked)
    assert model_folder(address, None, weights=True) == (folder, sha)
    assert len(hub.asked) == asked
    new_process()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert model_folder(address, None, weights=True) == (folder, sha)
    with pytest.raises(Unreachable, match=r"hub:lab/model#none.gguf: not in the hub's cache on this machine"):
        model_folder(f"{ADDRESS}#none.gguf", None, weights=True)


def test_what_belongs_to_a_file_of_ctranslate2_comes_with_it(hub, new_process, tmp_path):
    new_process()
    (tmp_path / "first" / "onnx" / "model.bin").write_bytes(b"bin")
    (tmp_path / "first" / "onnx" / "tokenizer.json").write_text("{}")
    (tmp_path / "first" / "onnx" / "model.gguf").write_bytes(b"GGUF")
    folder, _ = model_folder(f"{ADDRESS}#onnx/model.gguf", None, weights=True)
    assert [path.name for path in (folder / "onnx").iterdir()] == ["model.gguf"]
    folder, _ = model_folder(f"{ADDRESS}#onnx/model.bin", None, weights=False)
    assert sorted(path.name for path in (folder / "onnx").iterdir()) == ["model.bin", "model.gguf", "tokenizer.json"]
    assert not (folder / "tokenizer.json").exists()


def test_a_file_that_the_repository_lacks_is_named(hub, new_process):
    new_process()
    with pytest.raises(AssetError, match=r"hub:lab/model#none.gguf: no none.gguf in it$"):
        model_folder(f"{ADDRESS}#none.gguf", None, weights=True)


def test_only_what_a_model_needs_is_fetched(hub, new_process):
    new_process()
    folder, sha = model_folder(ADDRESS, None, weights=True)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert folder.name == sha
    assert hub_models.pinned_address(ADDRESS) == f"hub:lab/model@{sha}"


def test_without_weights_nothing_is_pinned(hub, new_process, tmp_path):
    new_process()
    use_lock(tmp_path / "study")
    folder, _ = model_folder(ADDRESS, None, weights=False)
    assert not (folder / "model.safetensors").exists()
    assert not (tmp_path / "study").exists()


def test_a_study_stays_at_the_commit_of_its_first_use(hub, new_process, tmp_path):
    new_process()
    use_lock(tmp_path / "study")
    _, first = model_folder(ADDRESS, None, weights=True)
    said = json.loads((tmp_path / "study" / LOCK).read_text())
    assert said[ADDRESS]["revision"] == first
    hub.repositories["lab/model"].append(commit(tmp_path, "second", b"two"))
    new_process()
    use_lock(tmp_path / "study")
    folder, again = model_folder(ADDRESS, None, weights=True)
    assert (again, (folder / "model.safetensors").read_bytes()) == (first, b"one")
    new_process()
    use_lock(tmp_path / "other")
    assert model_folder(ADDRESS, None, weights=True)[1] != first


def test_files_that_changed_under_a_pin_are_refused(hub, new_process, tmp_path):
    new_process()
    use_lock(tmp_path / "study")
    folder, _ = model_folder(ADDRESS, None, weights=True)
    weights = (folder / "model.safetensors").resolve()
    weights.chmod(0o600)
    weights.write_bytes(b"tampered")
    new_process()
    use_lock(tmp_path / "study")
    with pytest.raises(PinMismatch, match=r"^hub:lab/model: model\.safetensors has the SHA-256 .*restore the file"):
        model_folder(ADDRESS, None, weights=True)


def test_a_pinned_model_is_read_without_asking_the_hub(hub, new_process, tmp_path):
    new_process()
    use_lock(tmp_path / "study")
    model_folder(ADDRESS, None, weights=True)
    hub.asked.clear()
    new_process()
    use_lock(tmp_path / "study")
    model_folder(ADDRESS, None, weights=True)
    assert hub.asked == []


def test_offline_the_cache_answers_and_else_one_line_says_so(hub, new_process, tmp_path, monkeypatch):
    new_process()
    model_folder(ADDRESS, None, weights=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    new_process()
    assert (model_folder(ADDRESS, None, weights=True)[0] / "model.safetensors").read_bytes() == b"one"
    shutil.rmtree(tmp_path / "cache")
    new_process()
    with pytest.raises(Unreachable, match="not in the hub's cache on this machine, and the hub cannot be reached"):
        model_folder(ADDRESS, None, weights=True)


def test_digests_that_are_given_are_checked(hub, new_process):
    new_process()
    with pytest.raises(AssetError, match="expected 0000"):
        model_folder(ADDRESS, {"model.safetensors": "0" * 64}, weights=True)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hub:lab/none", "no such repository, or a private one; HF_TOKEN gives access"),
        ("hub:lab/model@v9", "the repository has no revision v9"),
        ("hub:lab/gated", "a gated repository; accept its terms at https://huggingface.co/lab/gated and set HF_TOKEN"),
        ("hub:lab/empty", "no config.json in it"),
        ("hub:a/b/c", "expected hub:owner/name@revision"),
    ],
)
def test_what_cannot_be_had_is_one_line(hub, new_process, tmp_path, address, message):
    new_process()
    hub.repositories["lab/gated"] = hub.repositories["lab/model"]
    hub.gated.add("lab/gated")
    (tmp_path / "empty").mkdir()
    hub.repositories["lab/empty"] = [tmp_path / "empty"]
    with pytest.raises(AssetError) as caught:
        model_folder(address, None, weights=True)
    assert str(caught.value).startswith(f"{address}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_digest_is_that_of_the_file(hub):
    address = f"{ADDRESS}#onnx/model.safetensors"
    place = located(address, None, weights=True)
    assert located(address, sha256_of(place), weights=True) == place
    with pytest.raises(AssetError, match=r"onnx/model\.safetensors: its SHA-256 is .*, expected 0+; it is not used"):
        located(address, "0" * 64, weights=True)
    with pytest.raises(
        ConfigError, match=r"^model\.sha256=0+: model\.address=hub:lab/model: a repository has a digest"
    ):
        located(ADDRESS, "0" * 64, weights=True)
