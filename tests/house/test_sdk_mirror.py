"""The command line and the client library can do the same: one table says by what."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import click
import lodeworks.blocking
from lodeworks.cli.main import lode

MIRROR: dict[str, tuple[str, ...]] = {
    "whoami": ("Users.whoami",),
    "doctor": ("Users.whoami", "Workers.list"),
    "login": ("Users.whoami",),
    "project create": ("Projects.create",),
    "project ls": ("Projects.list",),
    "project quota": ("Quotas.get", "Quotas.set"),
    "project show": ("Projects.get", "Client.project"),
    "project use": ("Projects.get",),
    "project rename": ("Projects.rename",),
    "project delete": ("Projects.delete",),
    "project member add": ("Project.add_member",),
    "project member ls": ("Project.members",),
    "project member remove": ("Project.remove_member",),
    "class add": ("Classes.add",),
    "class alias": ("Classes.alias",),
    "class delete": ("Classes.delete",),
    "class ls": ("Classes.list",),
    "class merge": ("Classes.merge",),
    "class rename": ("Classes.rename",),
    "dataset analyze": ("Curation.analyze", "Analysis.summary", "Analysis.report_html"),
    "dataset browse": (
        "DatasetVersion.pictures",
        "DatasetVersion.write_thumbnails",
        "DatasetVersion.write_contact_sheet",
        "Curation.thumbnails",
    ),
    "dataset copy": ("Datasets.copy",),
    "dataset dedup": ("Curation.dedup",),
    "dataset delete": ("Datasets.delete",),
    "dataset diff": ("Curation.diff",),
    "dataset exclude": ("DatasetVersion.exclude",),
    "dataset export": ("DatasetVersion.export",),
    "dataset filter": ("DatasetVersion.filter",),
    "dataset generate": ("Datasets.generate",),
    "dataset hide": ("Curation.hide",),
    "dataset history": ("Datasets.history",),
    "dataset import": ("Datasets.import_from",),
    "dataset leaks": ("Curation.leaks",),
    "dataset lineage": ("Curation.lineage",),
    "dataset ls": ("Datasets.list", "Curation.public"),
    "dataset merge": ("DatasetVersion.merge",),
    "dataset mine": ("DatasetVersion.mine",),
    "dataset rename": ("Datasets.rename",),
    "dataset report": ("Datasets.report", "DatasetVersion.report"),
    "dataset restore": ("Curation.restore",),
    "dataset sample": ("DatasetVersion.sample",),
    "dataset share": ("Curation.share",),
    "dataset show": ("Datasets.get",),
    "dataset signals": ("Curation.signals",),
    "dataset split": ("DatasetVersion.split",),
    "dataset stats": ("DatasetVersion.stats",),
    "dataset tag": ("Curation.tag",),
    "dataset untag": ("Curation.tag",),
    "storage usage": ("Storage.usage",),
    "storage collect": ("Storage.collect",),
    "model import": ("Models.import_from",),
    "model curves": ("Task.metrics",),
    "model delete": ("Models.delete",),
    "model evaluate": ("ModelVersion.evaluate",),
    "model export": ("ModelVersion.download", "ModelVersion.download_files", "ModelVersion.files"),
    "model history": ("Models.history",),
    "model infer": ("ModelVersion.infer",),
    "model ls": ("Models.list",),
    "model publish": ("ModelVersion.publish",),
    "model recommend": ("Models.recommend",),
    "model rename": ("Models.rename",),
    "model show": ("Models.get",),
    "model train": ("Models.train", "Models.settings"),
    "evaluation boxes": ("Evaluation.boxes",),
    "evaluation confusion": ("Evaluation.confusion",),
    "evaluation counts": ("Evaluation.counts",),
    "evaluation curve": ("Evaluation.curve",),
    "evaluation delete": ("Evaluations.delete",),
    "evaluation export": ("Evaluation.report_html",),
    "evaluation ls": ("Evaluations.list",),
    "evaluation show": ("Evaluations.get",),
    "evaluation thresholds": ("Evaluation.thresholds",),
    "algorithm add": ("Algorithms.add",),
    "algorithm delete": ("Algorithms.delete",),
    "algorithm deploy": ("Devices.deploy", "Release.deploy", "Deployment.watch", "Deployment.result"),
    "algorithm download": ("Release.download",),
    "algorithm history": ("Algorithms.history",),
    "algorithm ls": ("Algorithms.list",),
    "algorithm report": ("Release.report_html", "Release.card"),
    "algorithm show": ("Algorithms.get", "Release.package"),
    "algorithm sign": ("Release.sign",),
    "device add": ("Devices.add",),
    "device delete": ("Devices.delete",),
    "device label": ("Device.label",),
    "device ls": ("Devices.list",),
    "device revoke": ("Device.revoke",),
    "device rollback": ("Device.rollback",),
    "device set": ("Device.set",),
    "device show": ("Devices.get", "Device.reported", "Device.desired"),
    "device start": ("Device.start",),
    "device stop": ("Device.stop",),
    "device undeploy": ("Device.undeploy",),
    "executor add": ("Executors.add",),
    "executor associate": ("Executors.associate",),
    "executor check": ("Executors.check", "Executors.report"),
    "executor copy": ("Executors.copy",),
    "executor delete": ("Executors.delete",),
    "executor ls": ("Executors.list",),
    "executor pull": ("Executors.pull",),
    "executor rename": ("Executors.rename",),
    "executor set": ("Executors.set", "Executors.get"),
    "executor share": ("Executors.share",),
    "executor show": ("Executors.get",),
    "task cancel": ("Task.cancel",),
    "task logs": ("Task.log",),
    "task ls": ("Tasks.list",),
    "task retry": ("Task.retry",),
    "task set": ("Task.set",),
    "task show": ("Tasks.get",),
    "task wait": ("Task.wait", "Task.result"),
    "task watch": ("Task.watch",),
    "worker add": ("Workers.add",),
    "worker delete": ("Workers.delete",),
    "worker drain": ("Workers.drain",),
    "worker ls": ("Workers.list",),
    "worker show": ("Workers.get",),
    "worker undrain": ("Workers.undrain",),
    "audit ls": ("Audit.list", "Audit.follow"),
    "message ls": ("Messages.list",),
    "message read": ("Messages.read",),
    "schedule add": ("Schedules.add", "Noting.call"),
    "schedule delete": ("Schedules.delete",),
    "schedule fires": ("Schedules.fires",),
    "schedule ls": ("Schedules.list",),
    "schedule pause": ("Schedules.pause",),
    "schedule resume": ("Schedules.resume",),
    "schedule show": ("Schedules.get",),
    "webhook add": ("Webhooks.add",),
    "webhook delete": ("Webhooks.delete",),
    "webhook deliveries": ("Webhooks.deliveries",),
    "webhook ls": ("Webhooks.list",),
    "webhook redeliver": ("Webhooks.redeliver",),
    "webhook show": ("Webhooks.get",),
    "webhook test": ("Webhooks.test",),
    "user add": ("Users.add",),
    "user disable": ("Users.disable",),
    "user ls": ("Users.list",),
    "user quota": ("Quotas.get", "Quotas.set"),
    "user set": ("Users.set",),
    "token create": ("Tokens.create",),
    "token ls": ("Tokens.list",),
    "token revoke": ("Tokens.revoke",),
}
"""Command → the methods of the client that do it."""

OF_THIS_MACHINE = {
    "up": "starts programs",
    "down": "stops programs",
    "status": "looks at processes",
    "backup create": "copies files of this machine",
    "backup restore": "copies files of this machine",
    "backup verify": "reads files of this machine",
    "demo": "starts programs, then walks through other commands",
    "executor new": "writes files of this machine; programs call lodeworks_executor.scaffold",
    "logout": "forgets a profile",
    "version": "says what is installed here",
    "completion": "prints a script",
    "profile ls": "reads the profiles",
    "profile use": "writes the profiles",
}
"""Commands that are about this machine and not about a server."""

OF_A_PROGRAM = {
    "Client.close": "a command ends, a program closes",
    "DatasetVersion.picture_bytes": "`dataset export` writes pictures as files",
    "Datasets.prediction_sets": "`dataset browse --predictions` shows one",
    "Device.refresh": "each command looks anew",
    "Task.refresh": "each command looks anew",
}
"""Methods that make sense to a program alone, and what a person has instead."""


def _commands() -> set[str]:
    found: set[str] = set()

    def walk(group: click.Group, path: tuple[str, ...]) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                walk(command, (*path, name))
            else:
                found.add(" ".join((*path, name)))

    walk(lode, ())
    return found


def _methods() -> set[str]:
    """Returns the public methods of the public client; properties only say what a thing is."""
    found: set[str] = set()
    for entry in pkgutil.iter_modules(lodeworks.blocking.__path__):
        module = import_module(f"lodeworks.blocking.{entry.name}")
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__ or name.startswith("_"):
                continue
            found |= {
                f"{name}.{method}"
                for method, value in vars(kind).items()
                if not method.startswith("_") and inspect.isfunction(value)
            }
    return found


def test_every_command_has_its_method():
    commands = _commands()
    without = commands - MIRROR.keys() - OF_THIS_MACHINE.keys()
    assert not without, f"name the client's method for these commands: {sorted(without)}"
    gone = (MIRROR.keys() | OF_THIS_MACHINE.keys()) - commands
    assert not gone, f"these commands are in the table and not in the tree: {sorted(gone)}"


def test_every_method_has_its_command():
    methods = _methods()
    named = {method for several in MIRROR.values() for method in several} | OF_A_PROGRAM.keys()
    assert not methods - named, f"name the command for these methods: {sorted(methods - named)}"
    assert not named - methods, f"these methods are in the table and not in the client: {sorted(named - methods)}"


def test_nothing_is_named_twice():
    assert not MIRROR.keys() & OF_THIS_MACHINE.keys()
    assert not OF_A_PROGRAM.keys() & {method for several in MIRROR.values() for method in several}
