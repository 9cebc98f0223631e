"""From a zip of one's own pictures to a device that runs the model, through the client library.

Usage: python own_pictures.py TRAINVAL.zip TEST.zip [--device NAME] [--epochs N]
"""

from __future__ import annotations

import argparse

from lodeworks import Client


def main() -> None:
    """Imports, trains, evaluates, publishes and, where a device is named, deploys."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainval")
    parser.add_argument("test")
    parser.add_argument("--device", help="name of an enrolled device")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--project", default="own-pictures")
    given = parser.parse_args()
    with Client() as lode:
        project = lode.projects.create(given.project)
        labelled = project.datasets.import_from(given.trainval, to="labelled", unknown_classes="add").result()
        train, val = labelled.split({"train": 80, "val": 20}).result()
        test = project.datasets.import_from(given.test, to="test").result()
        print(f"{train}, {val}, {test}")

        settings = {"epochs": given.epochs} if given.epochs else {}
        task = project.models.train(train=train, val=val, settings=settings)
        for event in task.watch(logs=False):  # progress and metrics as they happen
            print(event)
        model = task.result()
        report = model.evaluate(on=test).result()
        print(f"mAP50 {report.ap50:.4f}, mAP50:95 {report.ap:.4f}")
        for name, score in report.per_class.items():
            print(f"  {name}: {score.ap50:.4f}")

        release = model.publish(name="cells", calibrate=train, guard=val).result()
        for package in release.data.packages:
            print(f"{package.variant}: mAP50:95 {package.ap:.4f}, {package.latency_ms:.2f} ms")
        if given.device:
            (device,) = release.deploy(project.devices.get(given.device)).result()
            print(device)


if __name__ == "__main__":
    main()
