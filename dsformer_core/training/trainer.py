"""The training loop.

One epoch trains on one group of classes, the groups take turns (EigenPlaces, CosPlace). One iteration takes one batch
of each view of the group, lateral and frontal, adds up their losses and makes one step of the model and of the
classifiers of that group.

Everything random in an iteration follows from (seed, iteration, rank) and every batch from (seed, epoch, group, view),
never from what happened before. So the random state of a training is its iteration's number, and a training that was
killed and resumed ends with the same weights as one that was not, bit for bit where the device computes alike twice.
"""

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from dsformer_core.errors import DsformerError
from dsformer_core.models import DescriptorModel, save_checkpoint
from dsformer_core.training.augmentation import Augmentation, Normalisation
from dsformer_core.training.data import TrainingData
from dsformer_core.training.freezing import freeze, training_mode
from dsformer_core.training.interruption import Interruption
from dsformer_core.training.learning_rates import learning_rate_factor, parameter_groups
from dsformer_core.training.loading import endless_batches
from dsformer_core.training.loss import Classifier
from dsformer_core.training.recipe import Recipe
from dsformer_core.training.resume_state import data_digest, read_state, write_state
from dsformer_core.training.run_directory import RunDirectory

Batches = Generator[tuple[Tensor, Tensor], None, None]
Validate = Callable[[DescriptorModel], dict[str, float]]


@dataclass(frozen=True)
class Step:
    """One iteration, as it went.

    Attributes:
        losses: one per view, mean over the batch of this process.
        gradient_norm: L2, over everything that was trained, before the step.
        finite: False where it was not; then no step was made.
    """

    losses: tuple[float, ...]
    gradient_norm: float
    finite: bool


class Trainer:
    """A training: its model, optimisers and classifiers, and the iteration it has come to.

    Args:
        recipe: what to do.
        model: to train, with the weights it starts from.
        data: to train on.
        run: where logs and checkpoints go; None to write nothing.
        fabric: devices and precision, launched.
        scaler: of the gradients, the one that `fabric` uses; disabled where the precision needs none.
        validate: gives numbers of a model, `recall@1` among them; called by the first process only.
        report: takes lines for people.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: DescriptorModel,
        data: TrainingData,
        run: RunDirectory | None,
        fabric: Fabric,
        scaler: torch.amp.GradScaler,
        *,
        validate: Validate | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.recipe, self.model, self.data, self.run, self.fabric, self.scaler = (
            recipe, model, data, run, fabric, scaler,
        )  # fmt: skip
        self.validate, self.report = validate, report

        freeze(model, recipe.model)
        self.network = fabric.setup_module(model)
        self.optimizer = torch.optim.Adam(parameter_groups(model, recipe.optimizer))
        torch.manual_seed(recipe.schedule.seed)
        self.classifiers = [
            [Classifier(len(view), recipe.loss, recipe.optimizer.classifier_learning_rate) for view in group]
            for group in data.groups
        ]
        self.augment = (
            Normalisation(model.preprocessing)
            if recipe.schedule.overfit
            else Augmentation(recipe.augmentation, model.preprocessing)
        )
        self.data_sha256 = data_digest(data) if run else ""
        self.iteration = 0  # finished ones, over all epochs
        self.closed_epochs = 0  # validated and saved
        self.best_recall = -1.0
        self.skipped = 0  # iterations without finite gradients, in all
        self.skipped_in_a_row = 0
        self.last_loss = math.nan  # mean of the iterations logged last, in this process

    def imprint(self, class_means: list[list[Tensor]]) -> None:
        """Lets classifiers begin with their classes' means, per group and view (classes, 512) of unit length."""
        for classifiers, means_of_group in zip(self.classifiers, class_means, strict=True):
            for classifier, means in zip(classifiers, means_of_group, strict=True):
                classifier.imprint(means)

    @property
    def iterations(self) -> int:
        """Of the whole training."""
        return self.recipe.schedule.epochs * self.recipe.schedule.iterations_per_epoch

    def fit(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> bool:
        """Trains until all iterations are done or somebody interrupts.

        Args:
            on_progress: takes the number of finished iterations and of all.

        Returns:
            whether all are done; if not, the state is saved.

        Raises:
            DsformerError: gradients stayed without finite values, data cannot be read, the disk is full.
        """
        with Interruption() as interruption:
            while True:
                epochs, within = divmod(self.iteration, self.recipe.schedule.iterations_per_epoch)
                if within == 0 and epochs > self.closed_epochs:
                    self._close_epoch()
                if self.iteration == self.iterations:
                    return True
                if not self._train_epoch(interruption, on_progress):
                    return False

    def _train_epoch(self, interruption: Interruption, on_progress: Callable[[int, int], None]) -> bool:
        """Trains to the end of the epoch; False where it was interrupted, its state saved."""
        schedule = self.recipe.schedule
        epoch, first = divmod(self.iteration, schedule.iterations_per_epoch)
        group = epoch % len(self.data.groups)
        classifiers = self.classifiers[group]
        for classifier in classifiers:
            classifier.move(self.fabric.device)
        batches = [
            endless_batches(pictures, self.recipe, self.fabric, epoch=epoch, group=group, view=view, first=first)
            for view, pictures in enumerate(self.data.groups[group])
        ]
        training_mode(self.model, self.recipe.model)
        steps, since = [], time.perf_counter()
        try:
            while True:
                steps.append(self.step(batches, classifiers))
                self.iteration += 1
                on_progress(self.iteration, self.iterations)
                self._count_skipped(steps[-1])
                ended = self.iteration % schedule.iterations_per_epoch == 0
                if ended or self.iteration % schedule.log_every == 0:
                    self._log(epoch, group, steps, time.perf_counter() - since)
                    steps, since = [], time.perf_counter()
                interrupted = self._anywhere(interruption.requested)
                if ended or interrupted or self.iteration % schedule.save_every == 0:
                    self.save_state()
                if ended or interrupted:
                    break
        finally:
            for parts in batches:
                parts.close()
        for classifier in classifiers:
            classifier.move(torch.device("cpu"))
        return not interrupted

    def step(self, batches: list[Batches], classifiers: list[Classifier]) -> Step:
        """One iteration: a batch of each view, forward, backward, one step of all optimisers.

        Args:
            batches: per view, parts of a batch for this process.
            classifiers: per view, on the device.
        """
        recipe, fabric = self.recipe, self.fabric
        torch.manual_seed(_seed(recipe.schedule.seed, self.iteration, fabric.global_rank))
        factor = learning_rate_factor(self.iteration, self.iterations, recipe.optimizer)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = parameters["initial_lr"] * factor

        statistics = self._normalisation_statistics()
        losses = [torch.zeros((), device=fabric.device) for _ in batches]
        for view, (parts, classifier) in enumerate(zip(batches, classifiers, strict=True)):
            for part in range(recipe.schedule.accumulate):
                pictures, classes = (tensor.to(fabric.device, non_blocking=True) for tensor in next(parts))
                pictures = self.augment(pictures)
                last = view == len(batches) - 1 and part == recipe.schedule.accumulate - 1
                with fabric.no_backward_sync(self.network, enabled=not last):
                    loss = classifier(self.network(pictures), classes) / recipe.schedule.accumulate
                    fabric.backward(loss)
                losses[view] += loss.detach()
        for classifier in classifiers:
            # A classifier is one matrix: it needs no wrapper to have the same gradient in all processes.
            classifier.weight.grad = self._over_processes(classifier.weight.grad, "mean")

        optimizers = [self.optimizer, *(classifier.optimizer for classifier in classifiers)]
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = _gradient_norm(optimizers)
        finite = not self._anywhere(not torch.isfinite(norm + sum(losses)).item())
        if finite:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
        else:
            # What overflowed has gone through the normalisation's running statistics as well.
            for buffer, before in statistics:
                buffer.copy_(before)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        return Step(tuple(float(loss) for loss in losses), float(norm), finite)

    def _normalisation_statistics(self) -> list[tuple[Tensor, Tensor]]:
        """The statistics that a forward pass changes, each with a copy of what it is now."""
        layers = [layer for layer in self.model.modules() if isinstance(layer, _BatchNorm) and layer.training]
        return [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()]

    def _anywhere(self, here: bool) -> bool:
        """Whether something is so in any process; every process must ask at the same time."""
        if self.fabric.world_size == 1:
            return here
        flag = torch.tensor(float(here), device=self.fabric.device)
        return bool(self._over_processes(flag, "sum") > 0)

    def _over_processes(self, tensor: Tensor | None, operation: str) -> Tensor:
        assert tensor is not None
        combined = self.fabric.all_reduce(tensor, reduce_op=operation)
        assert isinstance(combined, Tensor)
        return combined

    def _count_skipped(self, step: Step) -> None:
        if step.finite:
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= self.recipe.schedule.max_skipped:
            raise DsformerError(
                f"iteration {self.iteration}: {self.skipped_in_a_row} iterations in a row had no finite loss and "
                f"gradient (losses {step.losses}); lower optimizer.learning_rate, or use schedule.precision=bfloat16"
            )

    def _log(self, epoch: int, group: int, steps: list[Step], seconds: float) -> None:
        """Logs the mean of the iterations since the last time."""
        finite = [step for step in steps if step.finite] or steps
        losses = np.mean([step.losses for step in finite], axis=0)
        self.last_loss = float(losses.sum())
        pictures_per_second = len(steps) * len(losses) * self.recipe.schedule.batch_size / seconds
        if self.run and self.fabric.is_global_zero:
            row = {
                "iteration": self.iteration,
                "epoch": epoch + 1,
                "group": group,
                "loss": self.last_loss,
                # Every row has the same columns, though a group of ordinary pictures may lack a view.
                **{f"loss_of_view_{view}": "" for view in range(max(map(len, self.classifiers)))},
                **{f"loss_of_view_{view}": float(loss) for view, loss in enumerate(losses)},
                "gradient_norm": float(np.mean([step.gradient_norm for step in finite])),
                "learning_rate": float(self.optimizer.param_groups[-1]["lr"]),
                "pictures_per_second": pictures_per_second,
                "skipped_iterations": self.skipped,
                "replaced_pictures": self.data.replaced,
            }
            self.run.log("log", row)
        self.report(
            f"epoch {epoch + 1}/{self.recipe.schedule.epochs} iteration {self.iteration}/{self.iterations} "
            f"loss {self.last_loss:.3f} {pictures_per_second:.0f} pictures/s"
        )

    def _close_epoch(self) -> None:
        """Validates, saves the model, saves the state: in this order, so that what is interrupted is done again."""
        self.closed_epochs = self.iteration // self.recipe.schedule.iterations_per_epoch
        due = self.closed_epochs % self.recipe.validation.every == 0 or self.iteration == self.iterations
        if self.fabric.is_global_zero and self.run:
            if self.validate and due:
                self.model.eval()
                numbers = self.validate(self.model)
                self.report(f"epoch {self.closed_epochs}: " + ", ".join(f"{k} {v:.1%}" for k, v in numbers.items()))
                self.run.log("validation", {"iteration": self.iteration, "epoch": self.closed_epochs, **numbers})
                if numbers["recall@1"] > self.best_recall:
                    self.best_recall = numbers["recall@1"]
                    save_checkpoint(self.model, self.run.best)
            save_checkpoint(self.model, self.run.last)
        self.fabric.barrier()
        self.save_state()

    def save_state(self) -> None:
        """Writes what `resume` reads.

        Raises:
            DsformerError: the disk is full; the state before it stays.
        """
        if not self.run or not self.fabric.is_global_zero:
            return
        write_state(
            self.run.state,
            {
                "iteration": self.iteration,
                "closed_epochs": self.closed_epochs,
                "data_sha256": self.data_sha256,
                "best_recall": self.best_recall,
                "skipped": self.skipped,
                "skipped_in_a_row": self.skipped_in_a_row,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "classifiers": [
                    [{"weights": c.state_dict(), "optimizer": c.optimizer.state_dict()} for c in group]
                    for group in self.classifiers
                ],
                "scaler": self.scaler.state_dict(),
            },
        )

    def resume(self) -> None:
        """Goes back to where the training in the run directory was saved.

        Raises:
            DsformerError: there is none, it is damaged, or of other data.
        """
        assert self.run is not None
        state = read_state(self.run.state)
        if state["data_sha256"] != self.data_sha256:
            raise DsformerError(
                f"{self.run.state}: was trained on other data than {self.data.path}: resume with those that "
                f"{self.run.facts} names, or begin anew in another --output"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise DsformerError(f"{self.run.state}: is of another architecture than {self.model.name}") from error
        for group, saved_group in zip(self.classifiers, state["classifiers"], strict=True):
            for classifier, saved in zip(group, saved_group, strict=True):
                classifier.load_state_dict(saved["weights"])
                classifier.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name in ("iteration", "closed_epochs", "best_recall", "skipped", "skipped_in_a_row"):
            setattr(self, name, state[name])


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _gradient_norm(optimizers: list[Any]) -> Tensor:
    gradients = [
        parameter.grad
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
