"""The parent of one run: starts it, outlives the worker, keeps its exit.

Runs as `python -I -S shim.py FOLDER`, on the standard library alone and without importing anything of ours, so that an
update of the worker cannot touch a run. FOLDER holds `launch.json`; the shim adds, each by rename:

- `shim.json`   who the shim is (pid, start time, boot), once it is sure to be the only one of this run;
- `child.json`  who the executor is;
- `exit.json`   how it ended. Written last, when nothing of the run is alive any more.

`stop.json` {grace_s} and then SIGTERM ask the shim to end the run. Exit codes: 0 started, 3 another shim has this run.
"""

import ctypes
import fcntl
import json
import os
import signal
import sys
import time

STARTED = 0
TAKEN = 3
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LONG_S = 3600.0
_EXEC_FAILED = 127


def write_json(path: str, value: dict[str, object]) -> None:
    """Writes a file so that a reader sees all of it or nothing."""
    temporary = f"{path}.{os.urandom(6).hex()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123 - no pathlib here: the shim starts in 10 ms
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105


def read_json(path: str) -> dict[str, object] | None:
    """Reads what write_json wrote, or None."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            value = json.load(file)
    except FileNotFoundError:
        return None
    return value if isinstance(value, dict) else None


def stat_fields(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on; empty where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def boot_id() -> str:
    """Names this boot of the machine: pids and start times repeat after a reboot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
        return file.read().strip()


def identity(pid: int) -> dict[str, object]:
    """Describes a process so that it can be told from a later one with its pid."""
    fields = stat_fields(pid)
    return {"pid": pid, "start_time": int(fields[19]) if fields else 0, "boot_id": boot_id()}


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _oom_kills() -> int:
    try:
        with open("/proc/vmstat", encoding="ascii") as file:  # noqa: PTH123
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def _become(launch: dict[str, object], shim_pid: int) -> None:
    """Turns the forked child into the executor; never returns."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim_pid:
            return
        log = os.open(str(launch["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        command = [str(word) for word in launch["command"]]  # type: ignore[attr-defined]
        environment = {str(k): str(v) for k, v in launch["environment"].items()}  # type: ignore[attr-defined]
        os.chdir(str(launch["cwd"]))
        os.execvpe(command[0], command, environment)  # noqa: S606 - the command is the run
    except OSError as error:
        os.write(2, f"cannot start the executor: {error}\n".encode())
    finally:
        os._exit(_EXEC_FAILED)


def _signal_group(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except (ProcessLookupError, PermissionError):
        return


def _children_of(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        fields = stat_fields(int(name)) if name.isdigit() else []
        if len(fields) > 1 and int(fields[1]) == pid:
            found.append(int(name))
    return found


def _reap(child: int) -> dict[str, object] | None:
    """Reaps what has ended; returns the executor's end if it is among it."""
    ended: dict[str, object] | None = None
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == child:
            signalled = os.WIFSIGNALED(status)
            ended = {
                "code": None if signalled else os.WEXITSTATUS(status),
                "signal": os.WTERMSIG(status) if signalled else None,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "max_rss_bytes": usage.ru_maxrss * 1024,
            }


def _clear(child: int) -> None:
    """Ends what the executor left behind, as the end of a container does; we are the reaper of all of it."""
    _signal_group(child, signal.SIGKILL)
    for _ in range(1000):
        _reap(child)
        left = _children_of(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)


def _watch(folder: str, child: int) -> dict[str, object]:
    """Waits for the executor's end; a SIGTERM to us starts the grace that `stop.json` names."""
    kill_at = None
    stopped = False
    while True:
        left_s = _LONG_S if kill_at is None else max(0.0, kill_at - time.monotonic())
        received = signal.sigtimedwait([signal.SIGCHLD, signal.SIGTERM], left_s)
        ended = _reap(child)
        if ended is not None:
            return {**ended, "stopped": stopped}
        if received is not None and received.si_signo == signal.SIGTERM:
            order = read_json(f"{folder}/stop.json") or {}
            stopped = True
            kill_at = time.monotonic() + float(str(order.get("grace_s", 10.0)))
            _signal_group(child, signal.SIGTERM)
        if kill_at is not None and time.monotonic() >= kill_at:
            _signal_group(child, signal.SIGKILL)
            kill_at = time.monotonic() + 1.0


def _supervise(folder: str, launch: dict[str, object]) -> None:
    if os.path.exists(f"{folder}/stop.json"):  # noqa: PTH110
        write_json(f"{folder}/exit.json", {"code": None, "signal": int(signal.SIGTERM), "oom": False, "stopped": True})
        return
    kills_before = _oom_kills()
    shim_pid = os.getpid()
    started_in, started_out = os.pipe()
    child = os.fork()
    if child == 0:
        _become(launch, shim_pid)
    os.close(started_out)
    os.read(started_in, 1)  # ends when exec closes the other side: from here on the executor has its own group
    write_json(f"{folder}/child.json", identity(child))
    end = _watch(folder, child)
    _clear(child)
    unasked_kill = end["signal"] == signal.SIGKILL and not end["stopped"]
    end["oom"] = unasked_kill and _oom_kills() > kills_before
    write_json(f"{folder}/exit.json", end)


def _claim(folder: str) -> bool:
    """Takes the run for this shim. The lock settles a race, `shim.json` says that the run was started before."""
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not os.path.exists(f"{folder}/shim.json")  # noqa: PTH110


def _await_file(path: str) -> None:
    """Waits for the shim that was faster to say who it is."""
    for _ in range(1000):
        if os.path.exists(path):  # noqa: PTH110
            return
        time.sleep(0.005)


def main(folder: str) -> int:
    """Starts the run of a folder unless it was started before; the caller gets the answer at once."""
    answer_in, answer_out = os.pipe()
    if os.fork() != 0:
        os.close(answer_out)
        answer = os.read(answer_in, 1)
        return answer[0] if answer else 1
    os.setsid()
    os.close(answer_in)
    if not _claim(folder):
        _await_file(f"{folder}/shim.json")
        os.write(answer_out, bytes([TAKEN]))
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    launch = read_json(f"{folder}/launch.json") or {}
    write_json(f"{folder}/shim.json", identity(os.getpid()))
    os.write(answer_out, bytes([STARTED]))
    os.close(answer_out)
    _detach(f"{folder}/shim.log")
    _supervise(folder, launch)
    os._exit(0)


def _detach(log_path: str) -> None:
    """Lets go of the worker's pipes: they break when it dies."""
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
