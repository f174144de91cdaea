"""A faulty manifest is refused when the bundle is loaded, in one sentence that names the field."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from automedsam.bundle import BUILT_IN, Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.contract.manifest import MANIFEST_NAME, check_manifest, read_manifest
from automedsam.errors import AutoMedSAMError

GOOD = json.loads((BUILT_IN / "glioma" / MANIFEST_NAME).read_text(encoding="utf-8"))
DELETED = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The manifest with one field, given as `detector.labels.0`, set or deleted; `~` stands for a dot in a key."""
    manifest = copy.deepcopy(GOOD)
    place: Any = manifest
    *way, last = [int(key) if key.isdigit() else key.replace("~", ".") for key in path.split(".")]
    for key in way:
        place = place[key]
    if value is DELETED:
        place.pop(last, None) if isinstance(place, dict) else place.pop(last)
    else:
        place[last] = value
    return manifest


def write(folder: Path, content: bytes | str | dict[str, Any]) -> Path:
    text = json.dumps(content) if isinstance(content, dict) else content
    (folder / MANIFEST_NAME).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(AutoMedSAMError) as refused:
        load_bundle(folder)
    message = str(refused.value)
    assert "\n" not in message and str(folder) in message
    return message


def loaded(folder: Path) -> Bundle | None:
    """The bundle, or None if it was refused in one line; any other exception fails the test."""
    try:
        return load_bundle(folder)
    except AutoMedSAMError as error:
        if "\n" in str(error):
            raise
        return None


@pytest.mark.parametrize("name", ["glioma", "hippocampus"])
def test_the_built_in_manifests_are_sound(name: str) -> None:
    check_manifest(read_manifest(BUILT_IN / name))


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("name", DELETED, "name is missing"),
        ("name", "", "name: it is empty"),
        ("version", 2, "version: 2 is not text"),
        ("modalities", [], r"modalities: \[\] is not a list of 1 to 16"),
        ("window", [5, 5], "window: 5 is not below 5"),
        ("window", [1], r"window: \[1\] is not a list of 2"),
        ("plane", "oblique", "plane: 'oblique' is none of axial, coronal, sagittal"),
        ("segments.0.value", 0, r"segments\[0\].value: 0 is not at least 1"),
        ("segments.0.value", True, r"segments\[0\].value: True is not a whole number"),
        ("segments.0.color", [0, 0, 2], r"segments\[0\].color\[2\]: 2 is not at least 0 and at most 1"),
        ("detector.labels", [2], r"detector.labels: \[2\] are not different values of segments"),
        ("detector.labels", [1, 1], "detector.labels"),
        ("detector.score_threshold", 0, "detector.score_threshold: 0 is not above 0"),
        ("detector.score_threshold", "0.4", "detector.score_threshold: '0.4' is not a number"),
        ("detector.score_threshold", 10**400, "detector.score_threshold: 1000"),
        ("detector.nms_iou", -1, "detector.nms_iou"),
        ("detector.input_size", [192, -192], r"detector.input_size\[1\]: -192"),
        ("detector.mirror", 3, "detector.mirror: 3 is none of None, columns, slices"),
        ("detector.files.int8", "/etc/passwd", "outside its folder"),
        ("detector.files.int8", "../../detector.onnx", "outside its folder"),
        ("detector.files.int8", "..\\detector.onnx", "outside its folder"),
        ("detector.files.int8", "other.onnx", "files: other.onnx has no hash"),
        ("detector.input_size", [192, 100], r"detector.input_size\[1\]: 100 is not a multiple of 32"),
        ("window", [-(10**400), 5], r"window\[0\]: -1000.* is too large"),
        ("detector.files.int8", "x" * 300, "is not a file's name"),
        ("detector.files.int8", ".", "is not a file's name"),
        ("files." + "x" * 300, {"sha256": "0" * 64, "bytes": 1}, "is not a file's name"),
        ("name", "\ud800", "name: .* has characters that cannot be shown"),
        ("name", "red \x1b[31m", "name: .* has characters that cannot be shown"),
        ("name", "two\nlines", "name: .* is not on one line"),
        ("measured", [], r"measured: \[\] is not an object"),
        ("measured.int8.dice", "good", "measured.int8.dice: 'good' is not a number"),
        ("segmenter.golden", {"int8": [1]}, r"segmenter.golden.int8: \[1\] is not an object"),
        ("training.split", {"train": 3}, "training.split.train: 3 is not a list"),
        ("expected_input.pixel_spacing_mm", [2, 1], "expected_input.pixel_spacing_mm: 2 is above 1"),
        ("linking.threshold", 0.4, "linking: this version does not know 'threshold'"),
        ("linking.magic", 1, "linking: this version does not know 'magic'"),
        ("linking.max_objects", 0.5, "linking.max_objects: 0.5 is not a whole number"),
        ("tracking.margin", -0.1, "tracking.margin: -0.1"),
        ("tracking.fill", DELETED, "tracking: fill is missing"),
        ("segmenter.files.int8.mask_decoder", DELETED, "segmenter.files.int8: mask_decoder is missing"),
        ("segmenter.box_as_mask", 1, "segmenter.box_as_mask: 1 is not true or false"),
        ("segmenter.memory_stride", 0, "segmenter.memory_stride: 0"),
        ("segmenter.architecture.d_model", "wide", "'wide' as its d_model"),
        ("segmenter.architecture.stages", [1, -2], r"\(1, -2\) as its stages"),
        ("files", {}, "has no hash"),
        ("files.extra\0", {"sha256": "0" * 64, "bytes": 1}, "is not a file's name"),
        ("files.extra", {"bytes": 1}, "files.extra: sha256 is missing"),
        ("files.extra", {"sha256": "abc", "bytes": 1}, "is not a SHA-256"),
        ("modalities", ["FLAIR", "FLAIR"], "modalities: two modalities have the same name: FLAIR, FLAIR"),
        ("detector.channels", [], r"detector.channels: \[\] is not a list of 1 to 64"),
        ("detector.channels", ["FLAIR", "T1"], r"detector.channels\[1\]: 'T1' is none of the modalities FLAIR"),
        ("detector.channels", ["FLAIR+"], r"detector.channels\[0\]: 'FLAIR\+' is none of the modalities"),
        ("segmenter.channels", ["FLAIR"], r"segmenter.channels: \['FLAIR'\] is not a list of 3"),
        ("segmenter.channels", ["FLAIR", "FLAIR-1", "FLAIR"], r"segmenter.channels\[1\]: 'FLAIR-1' is none of"),
        ("segments.0.segmented_on", "T1ce", r"segments\[0\].segmented_on: 'T1ce' is none of the modalities"),
        ("segments.0.inside", 2, r"segments\[0\].inside: there is no segment of value 2"),
        ("segments.0.inside", 1, r"segments\[0\].inside: the segment lies inside itself"),
        ("roles", {"T2": {}}, "roles.T2: 'T2' is none of the modalities FLAIR"),
        ("roles", {"FLAIR": {"synonym": []}}, "roles.FLAIR: this version does not know 'synonym'"),
        ("roles", {"FLAIR": {"dicom": {"EchoTime": ["90"]}}}, "roles.FLAIR.dicom: 'EchoTime' is none of Modality"),
        ("windows", {"T2": None}, "windows.T2: 'T2' is none of the modalities FLAIR"),
        ("windows", {"FLAIR": [5, 5]}, "windows.FLAIR: 5 is not below 5"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, reason: str, tmp_path: Path) -> None:
    message = refusal(write(tmp_path, changed(path, value)))
    assert re.search(reason, message), message


IN_A_CIRCLE = [{**GOOD["segments"][0], "value": value, "inside": 3 - value} for value in (1, 2)]


def two(**changes: Any) -> dict[str, Any]:
    """The manifest with two modalities and three labels, each inside the next."""
    manifest = changed("modalities", ["FLAIR", "T1-1"])
    segment = manifest["segments"][0]
    manifest["segments"] = [{**segment, "value": value, "inside": value + 1} for value in (1, 2)]
    manifest["segments"].append({**segment, "value": 3})
    manifest["detector"].update(changes.pop("detector", {}))
    return {**manifest, **changes}


def test_channels_default_to_each_modality_with_its_neighbors(tmp_path: Path) -> None:
    bundle = load_bundle(write(tmp_path, two()))
    steps = [(channel.modality, channel.step) for channel in bundle.detector.channels]
    assert steps == [(0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]
    assert bundle.segmenter_channels == (0, 0, 0) and bundle.label_channels == {}
    assert bundle.inside == {1: 2, 2: 3}
    one = load_bundle(BUILT_IN / "glioma")
    assert [tuple(channel) for channel in one.detector.channels] == [(0, -1), (0, 0), (0, 1)]
    assert one.inside == {} and [role.name for role in one.roles] == ["FLAIR"]


def test_name_that_ends_like_a_step_is_a_name(tmp_path: Path) -> None:
    manifest = two(detector={"channels": ["T1-1", "T1-1-1", "T1-1+2", "FLAIR-2"], "mirror": None})
    bundle = load_bundle(write(tmp_path, manifest))
    assert [tuple(channel) for channel in bundle.detector.channels] == [(1, 0), (1, -1), (1, 2), (0, -2)]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (two(detector={"channels": ["FLAIR"]}), r"modalities\[1\]: neither the detector nor the segmenter looks at"),
        (two(detector={"channels": ["FLAIR", "FLAIR+1", "T1-1"], "mirror": "slices"}), "detector.mirror: slices needs"),
        (two(segments=IN_A_CIRCLE), r"segments\[0\].inside: the segment lies inside itself"),
    ],
)
def test_fields_that_contradict_each_other_are_named(manifest: dict[str, Any], reason: str, tmp_path: Path) -> None:
    message = refusal(write(tmp_path, manifest))
    assert re.search(reason, message), message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"\xff\xfe{}", "it is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (json.dumps(changed("detector.score_threshold", math.nan)), "it contains NaN"),
        (json.dumps(changed("detector.score_threshold", -math.inf)), "it contains -Infinity"),
        (b" " * 17_000_000, "larger than 16 MB"),
    ],
    ids=["empty", "list", "utf-16", "deep list", "deep object", "NaN", "infinity", "large"],
)
def test_what_is_no_manifest_is_refused(content: bytes | str, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(write(tmp_path, content))


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()))["name"] == "glioma"


def test_a_folder_without_a_manifest_asks_for_another_folder(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="choose a bundle's folder"):
        read_manifest(tmp_path)


_PLACES = [
    "name", "task", "modalities", "window", "plane", "segments", "segments.0", "segments.0.value", "segments.0.color",
    "detector", "detector.input_size", "detector.labels", "detector.labels.0", "detector.context_mm", "detector.files",
    "detector.score_threshold", "detector.nms_iou", "detector.mirror", "linking", "linking.max_gap_mm", "tracking",
    "tracking.fill", "tracking.reach_mm", "segmenter", "segmenter.architecture", "segmenter.architecture.image_size",
    "segmenter.architecture.stages", "segmenter.files", "segmenter.files.int8", "segmenter.box_as_mask", "files",
    "files.detector~int8~onnx", "segmenter.golden", "measured", "measured.int8", "measured.int8.dice", "training",
    "training.split", "expected_input", "expected_input.histogram", "expected_input.extent_mm", "license", "version",
    "segments.0.name", "segments.0.terminology", "schema", "linking.max_objects", "segmenter.memories",
    "detector.channels", "segmenter.channels", "segments.0.inside", "segments.0.segmented_on", "roles", "windows",
]  # fmt: skip
_ODD = [10**400, -(10**400), 1e308, 5e-324, "x" * 5000, "\ud800", "a\0b", "..", "/", "C:\\x", True, 255, 1, 0.5]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(_ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(BUILT_IN, folder / "bundles")
    return folder / "bundles" / "glioma"


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(_PLACES), value=_VALUES | st.just(DELETED))
def test_any_change_of_a_field_is_refused_or_gives_a_bundle_that_can_be_described(
    place: str, value: Any, fuzzed: Path
) -> None:
    from automedsam.cli.console import bundle_table

    write(fuzzed, changed(place, value))
    bundle = loaded(fuzzed)
    if bundle is not None:
        table = Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=200)
        table.print(bundle_table([bundle]))
        _ = bundle.expected_input, bundle.window, bundle.hash, bundle.golden(Backend.INT8), bundle.license, bundle.plane
        _ = bundle.roles, bundle.inside, bundle.segmenter_channels, bundle.label_channels, bundle.window_of(0)
        assert 0 < bundle.detector.score_threshold <= 1


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(start=st.integers(0, 20_000), length=st.integers(0, 50), junk=st.binary(max_size=20))
def test_damaged_bytes_are_refused_or_change_nothing_that_is_read(
    start: int, length: int, junk: bytes, fuzzed: Path
) -> None:
    content = json.dumps(GOOD).encode()
    start %= len(content)
    write(fuzzed, content[:start] + junk + content[start + length :])
    loaded(fuzzed)


def test_schema_1_is_read_and_its_own_keys_are_named(tmp_path: Path) -> None:
    renamed = {"license": "licence", "tracking": "following"}
    manifest = {renamed.get(key, key): copy.deepcopy(value) for key, value in GOOD.items()} | {"schema": 1}
    read, written = read_manifest(write(tmp_path, manifest)), read_manifest(BUILT_IN / "glioma")
    assert read | {"schema": 2} == written | {"schema": 2}
    manifest["following"]["margin"] = -0.1
    assert "following.margin: -0.1" in refusal(write(tmp_path, manifest))
