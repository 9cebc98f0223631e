"""A part of a training in one of several processes, its weights and losses written down for comparison."""

from pathlib import Path

import torch
from lodeworks_detector.batches import TrainingBatches
from lodeworks_detector.blocks import ConvUnit
from lodeworks_detector.configuration import read_configuration
from lodeworks_detector.examples import PictureCache
from lodeworks_detector.learner import Learner, Plan
from lodeworks_detector.network import Detector
from lodeworks_detector.preparation import make_model, read_pictures
from lodeworks_detector.ranks import Rank
from lodeworks_executor import Task

EPOCHS = 2


def learn(task: Task, index: int, count: int, meeting: Path) -> None:
    """Learns two epochs with a network without norms, whose answer does not depend on who else is in the batch."""
    torch.set_num_threads(1)
    configuration = read_configuration(task.settings)
    training, _ = read_pictures(task, class_names=task.class_names)
    model, size = make_model(task, configuration, training=training, class_names=task.class_names)
    rank = Rank(index, count, torch.device("cpu"))
    if count > 1:
        rank.join(meeting)
    batches = TrainingBatches(
        training,
        cache=PictureCache(size=size, budget_bytes=10**8),
        size=size,
        batch_size=configuration.batch_size,
        how=configuration.augmentation,
        seed=configuration.seed,
        rank=(index, count),
    )
    plan = Plan(
        epochs=EPOCHS,
        patience=EPOCHS,
        learning_rate=1e-3,
        checkpoint_interval_s=0,
        rank=rank,
        precision=torch.float32,
    )
    learner = Learner(_without_norms(model), plan=plan, batches=batches)
    losses = [learner.learn_epoch().total for _ in range(EPOCHS)]
    out = task.environment.outputs.root
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"losses": losses, "weights": learner.state()["model"]}, out / f"{index}_of_{count}.pt")
    rank.leave()


def _without_norms(model: Detector) -> Detector:
    for module in model.modules():
        if isinstance(module, ConvUnit):
            module.norm = torch.nn.Identity()
    return model
