"""The built-in executors `pull` and `check`, which the worker offers where it has a docker engine."""

import sys
from collections.abc import Callable, Mapping

import docker
import requests
from docker.errors import DockerException
from lodeworks_executor import ErrorCode, ExecutorError, Task
from lodeworks_executor.program import run_program
from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_manual import PulledImage, parse_image_manual
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.task_inputs import IMAGE, REPORT, ImageOptions

from lodeworks_worker.config import Config, load
from lodeworks_worker.errors import WorkerError
from lodeworks_worker.images.manual import read_manual
from lodeworks_worker.images.registry import PullError, Registries, pinned, present, pull


def fetch(task: Task, options: ImageOptions, *, client: docker.DockerClient, config: Config) -> PulledImage:
    """Makes sure that an image is here and reads its manual.

    Raises:
        PullError: It cannot be had.
        FormatError: It is no executor image.
    """
    image = None if options.newest else present(client, options.reference)
    if image is None:
        print(f"pulling {options.reference}", flush=True)  # noqa: T201 - the log of a run
        registries = Registries(config.registries)
        image = pull(client, options.reference, registries=registries, tell=lambda f, m: task.progress(0.9 * f, m))
    task.progress(0.9, "reading /img-man")
    files = read_manual(client, image.id, name=f"lodeworks-reads-{task.id}")
    found = PulledImage(
        reference=options.reference,
        pinned=pinned(image, options.reference),
        image_id=image.id,
        size_bytes=int(image.attrs.get("Size", 0)),
        architecture=str(image.attrs.get("Architecture", "")),
        files=files,
    )
    print(f"{found.pinned}: {', '.join(sorted(files)) or 'no /img-man'}", flush=True)  # noqa: T201
    return found


def run_pull(task: Task, options: ImageOptions, client: docker.DockerClient, config: Config) -> None:
    """Leaves what the image says of itself."""
    found = fetch(task, options, client=client, config=config)
    parse_image_manual(found.files, image=options.reference)
    task.output(IMAGE).write_bytes(found.to_bytes())


def run_check(task: Task, options: ImageOptions, client: docker.DockerClient, config: Config) -> None:
    """Leaves the report on the image."""
    from lodeworks_worker.images.check import check_image  # noqa: PLC0415 - a pull needs none of it

    found = fetch(task, options, client=client, config=config)
    report = check_image(
        found, options, folder=task.environment.outputs.root.parent / "check", task=task, config=config
    )
    task.output(REPORT).write_bytes(report.to_bytes())


_PROGRAMS: Mapping[str, Callable[[Task, ImageOptions, docker.DockerClient, Config], None]] = {
    "pull": run_pull,
    "check": run_check,
}


def main(name: str) -> int:
    """Runs `pull` or `check` and returns the exit code."""

    def program(task: Task) -> None:
        options = ImageOptions.from_bytes(canonical_json(task.options()))
        config = load({})
        try:
            client = docker.from_env() if config.docker_host is None else docker.DockerClient(config.docker_host)
            _PROGRAMS[name](task, options, client, config)
        except PullError as error:
            code = ErrorCode.CONFIG if error.lasting else ErrorCode.NETWORK
            raise ExecutorError(str(error), code=code) from error
        except FormatError as error:
            raise ExecutorError(str(error), code=ErrorCode.CONFIG) from error
        except WorkerError as error:
            raise ExecutorError(str(error), code=ErrorCode.CONFIG) from error
        except (DockerException, requests.exceptions.RequestException) as error:
            raise ExecutorError(f"the docker engine: {error}", code=ErrorCode.NETWORK) from error

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
