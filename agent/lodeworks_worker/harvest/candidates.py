"""What mining and inference leave: a score or boxes for each candidate."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lodeworks_formats.annotations.frame import fit_to_frame
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import pictures_metadata, read_pictures, write_pictures, write_scores
from lodeworks_formats.ymir_results import parse_inference_result, parse_mining_result

from lodeworks_worker.errors import OutputError
from lodeworks_worker.harvest.found import Found, is_regular

_SCORES, _BOXES = "result.tsv", "infer-result.json"


def mining_outputs(out: Path, *, scratch: Path, candidates: Path) -> list[Found]:
    """Returns `scores`: digest and score of each scored candidate, best first.

    Raises:
        OutputError: result.tsv cannot be read or names something that is no candidate.
    """
    path = out / _SCORES
    if not is_regular(path, within=out):
        return []
    try:
        scores = parse_mining_result(path.read_text(encoding="utf-8"))
    except (FormatError, UnicodeDecodeError) as error:
        line = error.line if isinstance(error, FormatError) else None
        raise OutputError(str(error), file=_SCORES, line=line or 0) from error
    known = {picture.digest for picture in read_pictures(candidates)}
    pairs = []
    for asset, score in scores:
        digest = PurePosixPath(asset).stem
        if digest not in known:
            raise OutputError(f"{asset!r} is none of the candidates", file=_SCORES)
        pairs.append((digest, score))
    target = scratch / "scores.parquet"
    write_scores(target, pairs)
    return [Found("scores", target)]


def inference_outputs(out: Path, *, scratch: Path, candidates: Path) -> list[Found]:
    """Returns `predictions`: the candidates with the boxes found in each; a picture left out was not predicted.

    Raises:
        OutputError: infer-result.json cannot be read or names something that is no candidate.
    """
    path = out / _BOXES
    if not is_regular(path, within=out):
        return []
    try:
        boxes = parse_inference_result(path.read_bytes())
    except FormatError as error:
        raise OutputError(str(error), file=_BOXES, line=error.line or 0) from error
    by_digest = {PurePosixPath(name).stem: (name, found) for name, found in boxes.items()}
    target = scratch / "predictions.parquet"
    metadata = pictures_metadata(candidates)
    write_pictures(
        target,
        _predicted(candidates, by_digest),
        kind="predictions",
        class_names=metadata.class_names,
        class_map_revision=metadata.class_map_revision,
    )
    if by_digest:
        name, _ = next(iter(by_digest.values()))
        raise OutputError(f"{name!r} is none of the candidates", file=_BOXES)
    return [Found("predictions", target)]


def _predicted(candidates: Path, by_digest: dict[str, tuple[str, tuple[Box, ...]]]) -> Iterator[Picture]:
    """Yields the candidates with their predictions, and takes those out of `by_digest`."""
    for picture in read_pictures(candidates):
        _, found = by_digest.pop(picture.digest, ("", None))
        predictions = None if found is None else _tidy(found, picture)
        yield replace(picture, boxes=None, predictions=predictions)


def _tidy(boxes: tuple[Box, ...], picture: Picture) -> tuple[Box, ...]:
    """Clips what networks write beyond the edges, drops what has no area, and keeps scores between 0 and 1."""
    real = [box for box in boxes if box.w > 0 and box.h > 0]
    kept, _ = fit_to_frame(real, width=picture.width, height=picture.height)
    bounded = (replace(box, score=min(max(box.score or 0.0, 0.0), 1.0)) for box in kept)
    return tuple(sorted(bounded, key=lambda box: -(box.score or 0.0)))
