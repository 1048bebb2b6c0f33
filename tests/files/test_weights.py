from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from likeness.diffusion.parts import save_part
from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.faces.embed import provided_encoders
from likeness.files.weights import (
    cached_file,
    convert_pickle_once,
    is_offline,
    read_metadata,
    read_safetensors,
    sha256_of,
    write_safetensors,
)
from likeness.methods.consistentid import loading
from likeness.methods.consistentid.config import SIZES
from likeness.methods.consistentid.loading import ARCFACE_FILES, ARCFACE_LICENCE

DATA = b"weights of a small net" * 50
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("LIKENESS_MODELS", "LIKENESS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "net.onnx").write_bytes(DATA)
    (tmp_path / "served" / "other.onnx").write_bytes(DATA[::-1])
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def tiny_autoencoder() -> PatchAutoencoderKL:
    return PatchAutoencoderKL(latent_channels=4, widths=(8, 8), blocks=(1, 1), sample_size=16)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    assert sha256_of(tmp_path / "a") == SHA
    with pytest.raises(InputError, match="no such file"):
        sha256_of(tmp_path / "b")


def test_download_once_then_from_the_cache(home: Path, server: str) -> None:
    path = cached_file("net.onnx", SHA, len(DATA), f"{server}/net.onnx")
    assert path == home / "cache" / "likeness" / "net.onnx"
    assert path.read_bytes() == DATA
    assert cached_file("net.onnx", SHA, len(DATA)) == path
    path.write_bytes(b"damaged")
    assert cached_file("net.onnx", SHA, len(DATA), f"{server}/net.onnx").read_bytes() == DATA
    assert [entry.name for entry in path.parent.iterdir()] == ["net.onnx"]


def test_another_file_is_refused(home: Path, server: str) -> None:
    with pytest.raises(MissingWeightsError, match="gave another file"):
        cached_file("net.onnx", SHA, len(DATA), f"{server}/other.onnx")
    with pytest.raises(MissingWeightsError, match="cannot be downloaded"):
        cached_file("net.onnx", SHA, len(DATA), f"{server}/missing.onnx")
    assert list((home / "cache" / "likeness").iterdir()) == []
    with pytest.raises(InputError, match="no https address"):
        cached_file("net.onnx", SHA, len(DATA), "file:///etc/hostname")


@pytest.mark.parametrize("switch", ["LIKENESS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(monkeypatch: pytest.MonkeyPatch, server: str, switch: str) -> None:
    monkeypatch.setenv(switch, "0")
    assert not is_offline()
    monkeypatch.setenv(switch, "1")
    assert is_offline()
    with pytest.raises(MissingWeightsError, match="network is switched off") as caught:
        cached_file("net.onnx", SHA, len(DATA), f"{server}/net.onnx")
    assert "LIKENESS_MODELS" in str(caught.value)


def test_given_folder_or_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "net.onnx").write_bytes(DATA)
    for value in (given, given / "net.onnx", f"{tmp_path}:{given}"):
        monkeypatch.setenv("LIKENESS_MODELS", str(value))
        assert cached_file("net.onnx", SHA, len(DATA)) == given / "net.onnx"
    (given / "net.onnx").write_bytes(DATA[::-1])
    with pytest.raises(MissingWeightsError, match=r"is not the net\.onnx that is needed"):
        cached_file("net.onnx", SHA, len(DATA))


@pytest.mark.parametrize("inside", ["pack", "pack/pack"])
def test_a_folder_unpacked_one_level_too_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    file = tmp_path / inside / "net.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(DATA)
    recogniser = file.with_name(ARCFACE_FILES[0])
    recogniser.write_bytes(b"a recogniser")
    monkeypatch.setenv("LIKENESS_MODELS", f"{tmp_path / 'nowhere'}{os.pathsep}{tmp_path}")
    assert cached_file("net.onnx", SHA, len(DATA)) == file
    assert provided_encoders() == [recogniser]
    monkeypatch.setattr(loading, "load_encoder", lambda path, licence: (path, licence))
    base = SimpleNamespace(folder=None, family="sd15")
    assert loading._face_encoder(base, SIZES["sd15"]) == (recogniser, ARCFACE_LICENCE)  # type: ignore[arg-type]
    nearer = tmp_path / "net.onnx"
    nearer.write_bytes(DATA)
    assert cached_file("net.onnx", SHA, len(DATA)) == nearer, "what lies where it was said to comes first"


def test_nowhere() -> None:
    with pytest.raises(MissingWeightsError, match="is needed and is not here") as caught:
        cached_file("net.onnx", SHA, len(DATA))
    assert caught.value.exit_code == 6


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{i}": torch.randn(10, 10, generator=generator) for i in range(5)}


def test_safetensors_round_trip(tmp_path: Path) -> None:
    write_safetensors(tensors(), tmp_path / "a.safetensors", {"licence": "Apache-2.0"})
    back = read_safetensors(tmp_path / "a.safetensors")
    assert all(torch.equal(back[name], value) for name, value in tensors().items())
    assert read_metadata(tmp_path / "a.safetensors")["licence"] == "Apache-2.0"


def test_weights_can_be_read_by_whom_other_files_can(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    write_safetensors({"a": torch.ones(3)}, tmp_path / "one.safetensors")
    write_safetensors({"a": torch.ones(9), "b": torch.ones(9)}, tmp_path / "two.safetensors", shard_bytes=40)
    save_part(tiny_autoencoder(), tmp_path / "part")
    files = [*tmp_path.rglob("*.safetensors")]
    assert len(files) == 4 and {file.stat().st_mode for file in files} == {mode}


def test_shared_and_turned_tensors_are_written(tmp_path: Path) -> None:
    value = torch.arange(6.0).reshape(2, 3)
    write_safetensors({"a": value, "b": value, "c": value.T, "d": value[:1]}, tmp_path / "a.safetensors")
    back = read_safetensors(tmp_path / "a.safetensors")
    assert torch.equal(back["b"], value)
    assert torch.equal(back["c"], value.T)
    assert torch.equal(back["d"], value[:1])


def test_shards(tmp_path: Path) -> None:
    write_safetensors(tensors(), tmp_path / "m.safetensors", shard_bytes=900)
    assert len(list(tmp_path.glob("m-*-of-00003.safetensors"))) == 3
    back = read_safetensors(tmp_path / "m.safetensors.index.json")
    assert back.keys() == tensors().keys()
    assert all(torch.equal(back[name], value) for name, value in tensors().items())
    (tmp_path / "m-00002-of-00003.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match="00002-of-00003"):
        read_safetensors(tmp_path / "m.safetensors.index.json")
    (tmp_path / "m.safetensors.index.json").write_text("{}")
    with pytest.raises(IncompatibleWeightsError, match="not an index"):
        read_safetensors(tmp_path / "m.safetensors.index.json")


def test_broken_safetensors(tmp_path: Path) -> None:
    write_safetensors(tensors(), tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    for damaged in (b"", data[:4], data[: len(data) // 2], b"\xff" * 64):
        (tmp_path / "a.safetensors").write_bytes(damaged)
        for read in (read_safetensors, read_metadata):
            with pytest.raises(IncompatibleWeightsError, match="not a whole safetensors file"):
                read(tmp_path / "a.safetensors")
    with pytest.raises(MissingWeightsError, match="do not exist"):
        read_safetensors(tmp_path / "b.safetensors")


def test_pickle_is_converted_once(tmp_path: Path) -> None:
    nested = {"image_proj": tensors(), "adapter_modules": {"0": tensors()}, "step": 3}
    torch.save(nested, tmp_path / "adapter.bin")
    twin = convert_pickle_once(tmp_path / "adapter.bin")
    assert torch.equal(read_safetensors(twin)["adapter_modules.0.layer.1"], tensors()["layer.1"])
    assert len(read_safetensors(twin)) == 10
    stamp = twin.stat().st_mtime_ns
    assert convert_pickle_once(tmp_path / "adapter.bin") == twin
    assert twin.stat().st_mtime_ns == stamp
    assert convert_pickle_once(twin) == twin


class Touch:
    """Makes a file when unpickled: what a hostile pickle would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    with (tmp_path / "hostile.bin").open("wb") as file:
        pickle.dump({"weight": Touch(tmp_path / "owned")}, file)
    torch.save({"weight": Touch(tmp_path / "owned")}, tmp_path / "hostile.pth")
    (tmp_path / "text.bin").write_text("hello")
    (tmp_path / "empty.bin").write_bytes(b"")
    for name in ("hostile.bin", "hostile.pth", "text.bin", "empty.bin"):
        with pytest.raises(IncompatibleWeightsError, match="not a plain file of tensors"):
            convert_pickle_once(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_pickle_without_tensors(tmp_path: Path) -> None:
    for content, words in [({"step": 1}, "holds no tensors"), ({"a": [1, 2]}, "holds a list at 'a'")]:
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(IncompatibleWeightsError, match=words):
            convert_pickle_once(tmp_path / "a.pt")
