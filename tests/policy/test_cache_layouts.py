"""What a layout makes of listed files: each row flips one fact of a whole model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ops_pipelines.policy.cache_layouts import RULES, kept
from ops_pipelines.policy.cache_parts import Assembled, chain
from ops_pipelines.policy.models import CacheModel, Inventory, Seen

A, B, C = "a" * 64, "b" * 64, "c" * 64
GIT = "1" * 40
COMMIT = "d" * 40
HOME = "models--acme--tiny"
MANIFEST = "manifests/registry.ollama.ai/library/llama3/8b"

Files = dict[str, Seen]


def seen(*files: Seen) -> Files:
    return {file.path: file for file in files}


def assemble(layout: str, files: Files, partial: tuple[str, ...] = ()) -> Assembled:
    return RULES[layout].assemble(files, partial)


def corrupt(assembled: Assembled) -> list[str]:
    return [file.path for file in assembled.files if file.corrupt]


# --- ollama ---


def manifest(*layers: tuple[str, int], config: tuple[str, int] | None = (C, 3)) -> str:
    entries = [{"digest": f"sha256:{digest}", "size": size} for digest, size in layers]
    return json.dumps(
        {"config": {"digest": f"sha256:{config[0]}", "size": config[1]} if config else {}, "layers": entries}
    )


def store(text: str | None = None) -> Files:
    return seen(
        Seen(MANIFEST, 9, "f" * 64, text=manifest((A, 1), (B, 2)) if text is None else text),
        Seen(f"blobs/sha256-{A}", 1, A),
        Seen(f"blobs/sha256-{B}", 2, B),
        Seen(f"blobs/sha256-{C}", 3, C),
    )


def test_an_ollama_model() -> None:
    [model] = assemble("ollama", store()).models
    assert (model.name, model.revision, model.size, model.complete) == ("llama3:8b", "f" * 64, 6, True)
    assert set(model.files) == set(store())


def without(path: str) -> Callable[[Files], None]:
    return lambda files: files.__delitem__(path)


def instead(file: Seen) -> Callable[[Files], None]:
    return lambda files: files.__setitem__(file.path, file)


@pytest.mark.parametrize(
    ("change", "complete", "bad"),
    [
        (lambda files: None, True, []),
        (without(f"blobs/sha256-{A}"), False, []),
        (without(f"blobs/sha256-{C}"), False, []),
        (instead(Seen(f"blobs/sha256-{A}", 1, B)), True, [f"blobs/sha256-{A}"]),
        (instead(Seen(f"blobs/sha256-{B}", 1, B)), True, [f"blobs/sha256-{B}"]),
        (instead(Seen(MANIFEST, 4, "f" * 64, text='{"lay')), True, [MANIFEST]),
        (instead(Seen(MANIFEST, 4, "f" * 64, text="[]")), True, [MANIFEST]),
        (instead(Seen(MANIFEST, 4, "f" * 64, text='{"layers": [{"digest": "sha256:zz"}]}')), True, [MANIFEST]),
        (instead(Seen(MANIFEST, 4, "f" * 64, text='{"layers": [7]}')), True, [MANIFEST]),
        (instead(Seen(MANIFEST, 4, "f" * 64, text=manifest((A, 1), config=None))), True, []),
    ],
    ids=["whole", "no layer", "no config", "bytes", "size", "cut off", "list", "no digest", "no layer entry", "bare"],
)  # fmt: skip
def test_ollama_faults(change: Callable[[Files], None], complete: bool, bad: list[str]) -> None:
    files = store()
    change(files)
    found = assemble("ollama", files)
    assert found.models[0].complete is complete
    assert corrupt(found) == bad


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("manifests/registry.ollama.ai/someone/m/1", "someone/m:1"),
        ("manifests/hf.co/acme/tiny/Q4", "hf.co/acme/tiny:Q4"),
    ],
)
def test_ollama_names_of_manifests(path: str, name: str) -> None:
    found = assemble("ollama", seen(Seen(path, 1, A, text=manifest(config=None))))
    assert [model.name for model in found.models] == [name]


@pytest.mark.parametrize("path", ["manifests/.DS_Store", "manifests/r/l/m/.hidden", "manifests/r/l/m/t/deep"])
def test_strays_among_manifests_are_said(path: str) -> None:
    found = assemble("ollama", seen(Seen(path, 1, A, text="x")))
    assert found.models == ()
    assert [problem.subject for problem in found.problems] == [path]


@pytest.mark.parametrize(
    ("layout", "path", "role"),
    [
        ("ollama", f"blobs/sha256-{A}", "content"),
        ("ollama", f"blobs/sha256-{A}-partial", "partial"),
        ("ollama", f"blobs/sha256-{A}-partial-12", "partial"),
        ("ollama", "blobs/sha256-2839483", "partial"),
        ("ollama", MANIFEST, "content"),
        ("huggingface", f"{HOME}/blobs/{A}", "content"),
        ("huggingface", f"{HOME}/blobs/{A}.incomplete", "partial"),
        ("huggingface", f"{HOME}/blobs/{A}.1f2e3d4c.incomplete", "partial"),
        ("huggingface", f"{HOME}/blobs/.{A}.1f2e3d4c.shared", "transient"),
        ("huggingface", f"{HOME}/refs/main.1f2e3d4c.tmp", "transient"),
        ("huggingface", f"{HOME}/trees/tmpab.tmp", "transient"),
        ("huggingface", f".locks/{HOME}/{A}.lock", "transient"),
        ("huggingface", f"blobs/aa/{A}.lock", "transient"),
        ("huggingface", f"blobs/aa/{A}.refs", "content"),
        ("huggingface", "CACHEDIR.TAG", "content"),
        ("directory", "m/model.safetensors", "content"),
        ("directory", "m/model.safetensors.incomplete", "partial"),
        ("directory", "m/.cache/huggingface/download/x.metadata", "transient"),
    ],
)
def test_roles(layout: str, path: str, role: str) -> None:
    assert RULES[layout].role(path) == role


# --- hub ---


def repository() -> Files:
    return seen(
        Seen(f"{HOME}/blobs/{A}", 5, A),
        Seen(f"{HOME}/blobs/{GIT}", 2, B, git=GIT),
        Seen(f"{HOME}/snapshots/{COMMIT}/model.safetensors", link=f"../../blobs/{A}"),
        Seen(f"{HOME}/snapshots/{COMMIT}/config.json", link=f"../../blobs/{GIT}"),
        Seen(f"{HOME}/refs/main", 40, C, text=COMMIT),
    )


def test_a_hub_model() -> None:
    found = assemble("huggingface", repository())
    assert [(m.name, m.revision, m.size, m.complete, m.tags) for m in found.models] == [
        ("acme/tiny", COMMIT, 7, True, ("main",))
    ]
    assert set(found.models[0].files) == set(repository())
    assert corrupt(found) == []


def listing(*extra: str) -> Seen:
    files = {name: {"size": 5, "blob_id": "2" * 40} for name in extra}
    files |= {"model.safetensors": {"size": 5, "blob_id": "3" * 40, "lfs_sha256": A}}
    return Seen(f"{HOME}/trees/{COMMIT}.json", 9, C, text=json.dumps({"files": files}))


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("change", "missing", "bad"),
    [
        (instead(Seen(f"{HOME}/blobs/{A}", 5, B)), (), [f"{HOME}/blobs/{A}"]),
        (instead(Seen(f"{HOME}/blobs/{GIT}", 2, B, git="9" * 40)), (), [f"{HOME}/blobs/{GIT}"]),
        (without(f"{HOME}/blobs/{A}"), ("model.safetensors",), []),
        (instead(Seen(f"{HOME}/refs/main", 3, C, text="abc")), (), [f"{HOME}/refs/main"]),
        (instead(listing()), (), []),
        (instead(listing("README.md", "onnx/model.onnx")), (), []),
        (instead(listing("tokenizer.json")), ("tokenizer.json",), []),
        (instead(Seen(f"{HOME}/trees/{COMMIT}.json", 1, C, text="{")), (), []),
    ],
    ids=[
        "bytes",
        "git bytes",
        "dangling",
        "no commit",
        "listed",
        "chosen part",
        "no tokenizer",
        "bad listing",
    ],
)
def test_hub_faults(change: Callable[[Files], None], missing: tuple[str, ...], bad: list[str]) -> None:
    files = repository()
    change(files)
    found = assemble("huggingface", files)
    assert found.models[0].missing == missing
    assert corrupt(found) == bad


def test_a_ref_without_its_snapshot_is_a_model_in_part() -> None:
    [model] = assemble("huggingface", seen(Seen(f"{HOME}/refs/main", 40, C, text=COMMIT))).models
    assert (model.complete, model.missing) == (False, (f"snapshots/{COMMIT}",))


def test_only_one_gguf_of_a_repository_is_no_fault() -> None:
    files = repository()
    del files[f"{HOME}/snapshots/{COMMIT}/model.safetensors"]
    del files[f"{HOME}/snapshots/{COMMIT}/config.json"]
    files |= seen(
        Seen(f"{HOME}/snapshots/{COMMIT}/q4.gguf", link=f"../../blobs/{A}"),
        listing("q4.gguf", "q8.gguf", "config.json"),
    )
    [model] = assemble("huggingface", files).models
    assert model.complete
    assert "q8.gguf" in model.absent


def test_listed_weights_of_which_none_came() -> None:
    files = repository() | seen(listing())
    del files[f"{HOME}/snapshots/{COMMIT}/model.safetensors"]
    assert assemble("huggingface", files).models[0].missing == ("model.safetensors",)


def test_a_shard_that_the_index_names_is_missed() -> None:
    files = repository() | seen(
        Seen(
            f"{HOME}/blobs/{'4' * 40}",
            9,
            C,
            git="4" * 40,
            text=json.dumps({"weight_map": {"w": "model.safetensors", "v": "two.safetensors"}}),
        ),
        Seen(f"{HOME}/snapshots/{COMMIT}/{INDEX}", link=f"../../blobs/{'4' * 40}"),
    )
    assert RULES["huggingface"].notes({p: f.link for p, f in files.items()}) >= {f"{HOME}/blobs/{'4' * 40}"}
    assert assemble("huggingface", files).models[0].missing == ("two.safetensors",)


@pytest.mark.parametrize(
    ("partial", "listed", "missing"),
    [
        (f"{HOME}/blobs/{B}.1f2e3d4c.incomplete", None, (f"blobs/{B}",)),
        (f"{HOME}/blobs/{A}.incomplete", None, ()),
        (f"{HOME}/blobs/{'2' * 40}.incomplete", listing("extra.bin"), ("extra.bin",)),
        (f"{HOME}/blobs/{B}.incomplete", listing("extra.bin"), ()),
        (f"models--other--one/blobs/{B}.incomplete", None, ()),
    ],
    ids=["not listed", "already whole", "listed", "of another revision", "of another repository"],
)
def test_unfinished_downloads(partial: str, listed: Seen | None, missing: tuple[str, ...]) -> None:
    files = repository() | (seen(listed) if listed else {})
    assert assemble("huggingface", files, (partial,)).models[0].missing == missing


def shared() -> Files:
    xet = "e" * 64
    files = repository()
    files[f"{HOME}/blobs/{A}"] = Seen(f"{HOME}/blobs/{A}", link=f"../../blobs/ee/{xet}")
    return files | seen(
        Seen(f"blobs/ee/{xet}", 5, A, mode=0o444),
        Seen(f"blobs/ee/{xet}.refs", 9, C),
        Seen("blobs/.huggingface-shared-blobs", 2, B),
        Seen(f"blobs/ff/{'f' * 64}", 7, B),
    )


def test_the_shared_store_is_checked_by_the_name_of_the_link_to_it() -> None:
    files = shared()
    found = assemble("huggingface", files)
    assert corrupt(found) == []
    assert f"blobs/ee/{'e' * 64}" in found.models[0].files
    assert f"blobs/ee/{'e' * 64}.refs" in found.models[0].files
    assert found.models[0].size == 7
    files[f"blobs/ee/{'e' * 64}"] = Seen(f"blobs/ee/{'e' * 64}", 5, B)
    assert corrupt(assemble("huggingface", files)) == [f"blobs/ee/{'e' * 64}"]


def test_files_of_a_disk_without_links_are_checked_by_the_listing() -> None:
    path = f"{HOME}/snapshots/{COMMIT}/model.safetensors"
    files = repository() | seen(Seen(path, 5, A, git="8" * 40), listing())
    assert corrupt(assemble("huggingface", files)) == []
    files[path] = Seen(path, 5, B, git="8" * 40)
    assert corrupt(assemble("huggingface", files)) == [path]


def test_data_sets_in_a_hub_cache_are_named_as_such() -> None:
    files = seen(Seen(f"datasets--acme--facts/refs/main", 40, C, text=COMMIT))  # noqa: F541
    assert [model.name for model in assemble("huggingface", files).models] == ["datasets/acme/facts"]


# --- directory ---


def test_each_top_folder_is_a_model_and_stray_files_belong_to_none() -> None:
    files = seen(Seen("one/a.gguf", 1, A), Seen("two/x/b.gguf", 2, B), Seen("notes.txt", 3, C))
    assert [(m.name, m.size) for m in assemble("directory", files).models] == [("one", 1), ("two", 2)]


def test_the_whole_folder_is_one_model_where_weights_lie_at_its_top() -> None:
    files = seen(Seen("config.json", 1, A), Seen("sub/x.bin", 2, B))
    assert [(m.name, m.size) for m in assemble("directory", files).models] == [(".", 3)]


def test_the_revision_is_the_content_and_not_the_folder() -> None:
    one = assemble("directory", seen(Seen("one/a.gguf", 1, A))).models[0]
    two = assemble("directory", seen(Seen("two/a.gguf", 1, A))).models[0]
    other = assemble("directory", seen(Seen("one/a.gguf", 1, B))).models[0]
    assert one.revision == two.revision != other.revision


@pytest.mark.parametrize(
    ("file", "partial", "missing"),
    [
        (Seen("m/w.bin", 0, A), (), ("m/w.bin",)),
        (Seen("m/w.bin", 5, A), ("m/v.bin.part",), ("m/v.bin.part",)),
        (Seen("m/w.bin", 5, A), ("other/v.bin.part",), ()),
        (Seen("m/w.bin", link="gone.bin"), (), ("m/w.bin",)),
        (Seen("m/w.bin", link="w.bin"), (), ("m/w.bin",)),
    ],
    ids=["empty weights", "a download", "elsewhere", "dangling", "a loop"],
)
def test_directory_models_in_part(file: Seen, partial: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert assemble("directory", seen(file), partial).models[0].missing == missing


def test_a_link_loop_ends() -> None:
    assert len(chain("a", {"a": "b", "b": "a"})) < 50


# --- what is kept ---


def inventory(layout: str, files: Files, partial: tuple[str, ...] = ()) -> Inventory:
    found = assemble(layout, files, partial)
    return Inventory("c", 0, layout, "/x", found.files, found.models, partial)


def test_kept_leaves_out_what_no_whole_model_needs() -> None:
    files = store() | seen(
        Seen(f"blobs/sha256-{'9' * 64}", 1, "9" * 64),
        Seen(
            "manifests/registry.ollama.ai/library/half/1",
            9,
            A,
            text=manifest((A, 1), ("8" * 64, 1), config=None),
        ),
    )
    result = kept(inventory("ollama", files))
    assert result.paths == set(store())
    assert result.incomplete == ("half:1",)
    assert result.unreferenced == (f"blobs/sha256-{'9' * 64}",)


def test_kept_of_the_shared_store() -> None:
    result = kept(inventory("huggingface", shared()))
    assert result.unreferenced == (f"blobs/ff/{'f' * 64}",)
    assert result.paths == set(shared()) - {f"blobs/ff/{'f' * 64}"}


def test_all_of_a_directory_is_kept() -> None:
    files = seen(Seen("one/a.gguf", 1, A), Seen("notes.txt", 3, C))
    assert kept(inventory("directory", files)).paths == set(files)


@pytest.mark.parametrize(
    ("layout", "paths"),
    [
        ("ollama", [f"blobs/sha256-{A}", MANIFEST]),
        (
            "huggingface",
            [f"blobs/ee/{A}", f"{HOME}/blobs/{A}", f"{HOME}/snapshots/{COMMIT}/x", f"{HOME}/refs/main"],
        ),
        ("directory", ["m/z.safetensors", "m/a.json"]),
    ],
)
def test_content_goes_back_before_what_names_it(layout: str, paths: list[str]) -> None:
    backwards = list(reversed(paths))
    assert sorted(backwards, key=RULES[layout].order) == paths


def test_models_are_frozen_facts() -> None:
    assert CacheModel("a", "b", (), 0) == CacheModel("a", "b", (), 0)
