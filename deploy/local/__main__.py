"""`python -m deploy.local up | down | clean | status | run | jars | exec -- COMMAND`: the commands behind the Makefile."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

from deploy.local import identity, jars, supervisor
from deploy.local.control import Control
from deploy.local.errors import LaunchError
from deploy.local.layout import PROJECT, Layout
from deploy.local.ports import PREFERRED
from deploy.local.process import tail
from deploy.local.processes import Table, environment

_TABLE = "deploy.local.processes:table"
_INTERRUPTED = 130


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="Run Rollcall on this machine.")
    parser.add_argument("--home", type=Path, default=PROJECT / ".rollcall", help="where everything is written")
    parser.add_argument("--table", default=_TABLE, help="module:function that gives the processes")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start what does not run"),
        ("down", "stop everything"),
        ("clean", "stop everything and forget all data"),
        ("status", "say how every process is"),
        ("run", "start what does not run, then the demo"),
        ("jars", "fetch Kafka"),
        ("supervise", "be the supervisor (up starts it)"),
    ):
        commands.add_parser(name, help=text)
    commands.add_parser("exec", help="run a command in the environment of the processes").add_argument("words", nargs="+")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; give the exit code, after one line with the reason if anything failed."""
    arguments = _arguments(argv)
    try:
        return _do(arguments)
    except LaunchError as error:
        print(f"rollcall: {error}", file=sys.stderr)
        if error.log is not None:
            for line in tail(error.log):
                print(f"    {line}", file=sys.stderr)
            print(f"rollcall: the whole log is {_shown(error.log)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrollcall: interrupted; what was started goes on, `make down` stops it", file=sys.stderr)
        return _INTERRUPTED


def _do(arguments: argparse.Namespace) -> int:
    layout = Layout(arguments.home.resolve())
    command = arguments.command
    if command in ("down", "clean", "status") and not layout.run.exists():
        # Nothing was ever started here: neither ports are chosen nor anything else is written just to say so.
        return _control(layout, arguments, fresh=True)
    layout.make()
    if command == "jars":
        jars.ensure(layout.jars)
        return 0
    if command == "exec":
        return subprocess.run(arguments.words, env=environment(layout, _asked(layout)), check=False).returncode
    if command == "supervise":
        return supervisor.Supervisor(_table(arguments.table)(layout, os.environ), layout).run()
    return _control(layout, arguments, fresh=False)


def _control(layout: Layout, arguments: argparse.Namespace, *, fresh: bool) -> int:
    command = arguments.command
    starting = command in ("up", "run")
    # Only a start may choose ports anew; the others speak of what was started.
    environ = _asked(layout) if starting else _without_ports()
    specs = [] if fresh else _table(arguments.table)(layout, environ)
    supervise = (sys.executable, "-m", "deploy.local", "--home", str(layout.home), "--table", arguments.table, "supervise")
    control = Control(layout, specs, supervise)
    if command == "down":
        control.down()
    elif command == "clean":
        control.clean()
    elif command == "status":
        return control.status()
    else:
        if arguments.table == _TABLE:
            # Here, where a person sees it, rather than in the supervisor.
            jars.ensure(layout.jars)
        control.up(environ)
        if command == "run":
            return subprocess.run((sys.executable, "-m", "demo", "run"), env=environment(layout, environ), cwd=PROJECT, check=False).returncode
    return 0


def _shown(log: Path) -> str:
    return str(log.relative_to(PROJECT) if log.is_relative_to(PROJECT) else log)


def _asked(layout: Layout) -> dict[str, str]:
    # What runs keeps its ports, whatever this command asks for.
    return dict(os.environ) if identity.read(layout.run, supervisor.NAME) is None else _without_ports()


def _without_ports() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in PREFERRED}


def _table(name: str) -> Table:
    module, _, function = name.partition(":")
    return cast(Table, getattr(importlib.import_module(module), function))


if __name__ == "__main__":
    sys.exit(main())
