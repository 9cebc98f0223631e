"""What the runs of a check say about an image."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_check import Finding, FindingOutcome
from lodeworks_formats.image_manual import TEMPLATES, ImageManual
from lodeworks_formats.protocol import RESERVED_KEYS, parse_config, parse_index
from lodeworks_formats.ymir_results import FAILED, parse_inference_result, parse_mining_result

from lodeworks_worker.errors import OutputError
from lodeworks_worker.grant import Input
from lodeworks_worker.harvest.harvest import read_monitor
from lodeworks_worker.harvest.plain_file import open_plain
from lodeworks_worker.harvest.training import training_outputs
from lodeworks_worker.images.made_inputs import LocalTransfer
from lodeworks_worker.images.trial import STOP_GRACE_S, Ended

_TOLD_BY_PLATFORM = {"export_format", "shm_size"}
_SIGKILL = 9


def passed(name: str, seen: str = "") -> Finding:
    """Returns that something is as it should be."""
    return Finding(name, FindingOutcome.PASSED, seen)


def failed(name: str, seen: str, advice: str) -> Finding:
    """Returns that something breaks the protocol."""
    return Finding(name, FindingOutcome.FAILED, seen, advice)


def advice(name: str, seen: str, told: str) -> Finding:
    """Returns that something would be better otherwise."""
    return Finding(name, FindingOutcome.ADVICE, seen, told)


def of_manual(manual: ImageManual) -> list[Finding]:
    """Returns what /img-man says."""
    found = []
    for kind, templates in manual.templates.items():
        for operation, text in templates.items():
            settings = parse_config(text, file=TEMPLATES[operation])
            name = f"manual.{operation}" if len(manual.templates) == 1 else f"manual.{operation}.{kind}"
            nested = [key for key, value in settings.items() if isinstance(value, dict)]
            reserved = sorted(set(settings) & (set(RESERVED_KEYS) - _TOLD_BY_PLATFORM))
            if nested:
                found.append(advice(name, f"{nested[0]!r} holds keys of its own", "settings are flat: name: value"))
            elif reserved:
                told = "the platform sets these itself; leave them out"
                found.append(advice(name, f"the template has {', '.join(reserved)}", told))
            else:
                found.append(passed(name, f"{len(settings)} settings"))
    return found


def of_training(ended: Ended) -> list[Finding]:
    """Returns what a training left."""
    found = _ending("training", ended)
    if found[0].outcome is FindingOutcome.FAILED:
        return found
    try:
        outputs = training_outputs(ended.out, scratch=ended.folder, complete=True)
    except OutputError as error:
        place = f"{error.file}: " if error.file and not str(error).startswith(error.file) else ""
        found.append(
            failed("training.result", f"{place}{error}", "write /out/models/result.yaml as the protocol has it")
        )
        return found
    stages = [one.role for one in outputs if one.role.startswith("stage/")]
    if not stages:
        told = "write /out/models/result.yaml with at least one stage, and its files"
        found.append(failed("training.result", "there is no models/result.yaml with a stage", told))
        return found
    names = dict.fromkeys(role.split("/")[1] for role in stages)
    found.append(passed("training.result", f"{len(names)} stages: {', '.join(names)}; {len(stages)} files"))
    drawn = (ended.out / "lode" / "metrics.jsonl").exists() or any(
        one.role.startswith("tensorboard/") for one in outputs
    )
    found.append(
        passed("training.curves", "metrics are there to be drawn")
        if drawn
        else advice("training.curves", "no TensorBoard events", "write them to /out/tensorboard, and curves are drawn")
    )
    return found


def model_inputs(ended: Ended, transfer: LocalTransfer) -> tuple[Input, ...]:
    """Returns the model that a training left, as inputs of the next run; none where there is none."""
    try:
        outputs = training_outputs(ended.out, scratch=ended.folder, complete=True)
    except OutputError:
        return ()
    found = [one for one in outputs if one.role.startswith("stage/")]
    last = {one.role.split("/")[1] for one in found[-1:]}
    return tuple(
        Input(f"model/{one.role.removeprefix('stage/')}", *transfer.add(one.path))
        for one in found
        if one.role.split("/")[1] in last
    )


def of_stop(ended: Ended) -> list[Finding]:
    """Returns what a run does when it is asked to stop."""
    if not ended.stopped or (ended.exit is not None and ended.exit.succeeded):
        return [Finding("stop", FindingOutcome.SKIPPED, "the training was over before it could be stopped")]
    if ended.exit is not None and ended.exit.signal == _SIGKILL:
        seen = f"it went on for {STOP_GRACE_S:.0f} s after SIGTERM and was killed"
        told = (
            "end on SIGTERM (start the program by `exec`, so that it hears the signal); stages written by then are kept"
        )
        return [advice("stop", seen, told)]
    return [passed("stop", "it ended on SIGTERM")]


def of_candidates(ended: Ended, *, classes: Sequence[str]) -> list[Finding]:
    """Returns what mining and inference left for the candidates."""
    name = ended.wish.name.rpartition("-")[2]
    found = _ending(name, ended)
    if found[0].outcome is FindingOutcome.FAILED:
        return found
    index = parse_index((ended.folder / "in" / "candidate-index.tsv").read_text(encoding="utf-8"))
    candidates = [asset for asset, _ in index]
    if "mine" in ended.wish.operations:
        found.append(_scores(f"{name}.scores", ended.out / "result.tsv", candidates))
    if "infer" in ended.wish.operations:
        found += _boxes(f"{name}.boxes", ended.out / "infer-result.json", candidates, classes)
    return found


def _ending(name: str, ended: Ended) -> list[Finding]:
    """Returns how a run ended and what it told of its progress; the first finding says whether it ended well."""
    if ended.exit is None or not ended.exit.succeeded:
        told = read_monitor(ended.folder)
        how = (
            f"{told.message} ({ended.how})" if told is not None and told.state == FAILED and told.message else ended.how
        )
        hint = (
            "give it more time with --run-timeout" if ended.exit is None else "see its output; run it on these settings"
        )
        return [failed(f"{name}.exit", how, hint)]
    return [passed(f"{name}.exit", "it ended with 0"), _monitor(name, ended)]


def _monitor(name: str, ended: Ended) -> Finding:
    form = "first line: task id, time, share (0 to 1), state (2 or 4), with tabs between"
    if not (ended.out / "monitor.txt").exists():
        return advice(
            f"{name}.monitor", "there is no monitor.txt", f"write /out/monitor.txt, and progress is shown; {form}"
        )
    told = read_monitor(ended.folder)
    if told is None:
        return failed(f"{name}.monitor", "the first line of monitor.txt cannot be read", form)
    if told.task_id != f"{ended.wish.name}":
        return failed(
            f"{name}.monitor", f"monitor.txt names the task {told.task_id!r}", "write the task_id of env.yaml"
        )
    if told.fraction < 1.0:
        return advice(f"{name}.monitor", f"the last share told is {told.fraction:.0%}", "tell 1.0 when all is done")
    return passed(f"{name}.monitor", "progress was told to the end")


def _read(path: Path) -> bytes:
    with open_plain(path.parent, path.name) as file:
        return file.read()


def _scores(name: str, path: Path, candidates: Iterable[str]) -> Finding:
    form = "write /out/result.tsv: asset path, tab, score; one line for each line of the candidate index"
    try:
        scored = {asset for asset, _ in parse_mining_result(_read(path).decode("utf-8"))}
    except (OSError, UnicodeDecodeError) as error:
        return failed(name, f"result.tsv cannot be read ({error})", form)
    except FormatError as error:
        return failed(name, str(error), form)
    wanted = set(candidates)
    known = {PurePosixPath(one).name for one in wanted}
    if foreign := sorted(one for one in scored if PurePosixPath(one).name not in known):
        return failed(name, f"result.tsv scores {foreign[0]}, which is none of the candidates", form)
    if missing := sorted(known - {PurePosixPath(one).name for one in scored}):
        return failed(name, f"result.tsv leaves out {len(missing)} candidates, such as {missing[0]}", form)
    return passed(name, f"{len(scored)} scores, one for each candidate")


def _boxes(name: str, path: Path, candidates: Iterable[str], classes: Sequence[str]) -> list[Finding]:
    form = 'write /out/infer-result.json: {"detection": {"<base name>": {"boxes": [{"box", "class_name", "score"}]}}}'
    try:
        predicted = parse_inference_result(_read(path))
    except OSError as error:
        return [failed(name, f"infer-result.json cannot be read ({error})", form)]
    except FormatError as error:
        return [failed(name, str(error), form)]
    known = {PurePosixPath(one).name for one in candidates}
    if foreign := sorted(set(predicted) - known):
        return [failed(name, f"infer-result.json has {foreign[0]!r}, which is none of the candidates", form)]
    count = sum(len(boxes) for boxes in predicted.values())
    folded = {one.casefold() for one in classes}
    strange = sorted({box.class_name for boxes in predicted.values() for box in boxes} - set(classes))
    if unknown := [one for one in strange if one.casefold() not in folded]:
        told = "use the names of class_names in config.yaml"
        return [failed(f"{name}", f"infer-result.json has the class {unknown[0]!r}, which the model has not", told)]
    if missing := sorted(known - set(predicted)):
        seen = f"infer-result.json leaves out {len(missing)} candidates"
        return [advice(name, seen, "list a picture without boxes too: left out means not looked at")]
    return [passed(name, f"{count} boxes in {len(predicted)} pictures")]
