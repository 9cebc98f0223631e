"""What an image says of itself in /img-man."""

import pytest
from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_check import CheckReport, Finding, FindingOutcome
from lodeworks_formats.image_manual import PulledImage, parse_image_manual
from lodeworks_formats.protocol import parse_size, render_size


def test_a_files_presence_is_what_an_image_can_do():
    manual = parse_image_manual({"training-template.yaml": "epochs: 3\n", "infer-template.yaml": ""})
    assert manual.object_types == (2,)
    assert manual.templates == {2: {"train": "epochs: 3\n", "infer": ""}}


def test_a_list_of_object_types_has_a_folder_for_each():
    files = {
        "manifest.yaml": "object_type: [3, 2, 4]\nenable_livecode: true\n",
        "det/training-template.yaml": "a: 1\n",
        "semantic-seg/infer-template.yaml": "b: 2\n",
        "training-template.yaml": "not: looked at\n",
    }
    manual = parse_image_manual(files)
    assert manual.object_types == (3, 2)
    assert manual.templates == {3: {"infer": "b: 2\n"}, 2: {"train": "a: 1\n"}}
    assert manual.live_code


def test_what_is_no_executor_image_hears_what_was_looked_for():
    with pytest.raises(
        FormatError, match=r"x:1 is not an executor image: I looked for /img-man/training-template.yaml"
    ):
        parse_image_manual({}, image="x:1")
    with pytest.raises(FormatError, match=r"/img-man/det/mining-template.yaml.*found /img-man/manifest.yaml") as told:
        parse_image_manual({"manifest.yaml": "object_type: [2]"})
    assert told.value.reason == "NOT_AN_EXECUTOR"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"training-template.yaml": "a: [1"}, "/img-man/training-template.yaml"),
        ({"training-template.yaml": "export_format: pascal:raw"}, "export_format 'pascal:raw' is unknown"),
        ({"manifest.yaml": "object_type: det", "training-template.yaml": ""}, "object_type must be a number"),
        ({"manifest.yaml": "object_type: []", "training-template.yaml": ""}, "object_type must be a number"),
    ],
)
def test_a_broken_manual_names_the_file(files, message):
    with pytest.raises(FormatError) as told:
        parse_image_manual(files)
    assert message in str(told.value)


def test_what_a_worker_found_comes_back_as_it_was():
    image = PulledImage("x:1", "x@sha256:1", "sha256:2", 3, "amd64", {"a.yaml": "b: 1\n"})
    assert PulledImage.from_bytes(image.to_bytes()) == image
    with pytest.raises(FormatError):
        PulledImage.from_bytes(b'{"reference": "x"}')
    report = CheckReport("x", [Finding("a", FindingOutcome.FAILED, "b", "c"), Finding("d", FindingOutcome.ADVICE)])
    assert CheckReport.from_bytes(report.to_bytes()) == report
    assert not report.passed
    assert CheckReport("x", report.findings[1:]).passed


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("16G", 16 << 30), ("512m", 512 << 20), ("64MB", 64 << 20), ("2GiB", 2 << 30), (1234, 1234)],
)
def test_sizes(text, size_bytes):
    assert parse_size(text) == size_bytes
    assert parse_size(render_size(size_bytes)) == size_bytes


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1", "much"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(FormatError, match="is no size"):
        parse_size(text)
