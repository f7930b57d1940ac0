"""The training loop.

One epoch trains on one group of classes, the groups take turns (EigenPlaces, CosPlace). One iteration takes one batch
of each view of the group, lateral and frontal, adds up their losses and makes one step of the model and of what its
objectives train along (the classifiers of that group, where the loss has any).

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

from dsformer_core.errors import DsformerError
from dsformer_core.models import DescriptorModel, save_checkpoint
from dsformer_core.training.augmentation import Augmentation, Normalisation, of_training
from dsformer_core.training.best import Best
from dsformer_core.training.branch import TrainedBranch, restore
from dsformer_core.training.data import TrainingData
from dsformer_core.training.freezing import freeze, training_mode
from dsformer_core.training.interruption import Interruption
from dsformer_core.training.learning_rates import learning_rate_factor, parameter_groups
from dsformer_core.training.loading import endless_batches
from dsformer_core.training.objectives import Objective, make_objective
from dsformer_core.training.recipe import Recipe
from dsformer_core.training.resume_state import data_digest, read_state, write_state
from dsformer_core.training.run_directory import RunDirectory

Batches = Generator[tuple[Tensor, Tensor], None, None]
Validate = Callable[[DescriptorModel], dict[str, float]]


@dataclass(frozen=True)
class Step:
    """One iteration, as it went.

    Attributes:
        losses: one per view, mean over the batch of this process, or of all where pictures are compared.
        gradient_norm: L2, over everything that was trained, before the step.
        finite: False where it was not; then no step was made.
    """

    losses: tuple[float, ...]
    gradient_norm: float
    finite: bool


class Trainer:
    """A training: its model, optimisers and objectives, and the iteration it has come to.

    Args:
        recipe: what to do.
        model: to train, with the weights it starts from.
        data: to train on.
        run: where logs and checkpoints go; None to write nothing.
        fabric: devices and precision, launched.
        scaler: of the gradients, the one that `fabric` uses; disabled where the precision needs none.
        validate: gives numbers of a model, those that decide which is best among them; called by the first process.
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

        freeze(model, recipe)
        self.branch = TrainedBranch(model, of_codes=recipe.loss.of == "codes")
        self.network = fabric.setup_module(self.branch)
        self.optimizer = torch.optim.Adam(parameter_groups(model, recipe.optimizer))
        torch.manual_seed(recipe.schedule.seed)
        self.objectives = [
            [make_objective(recipe, len(view), model.descriptor_dim) for view in group] for group in data.groups
        ]
        preprocessing = of_training(recipe, model)
        self.augment = (
            Normalisation(preprocessing)
            if recipe.schedule.overfit
            else Augmentation(recipe.augmentation, preprocessing)
        )
        self.data_sha256 = data_digest(data) if run else ""
        self.iteration = 0  # finished ones, over all epochs
        self.closed_epochs = 0  # validated and saved
        self.best = Best(recipe.measure, recipe.validation.patience)
        self.skipped = 0  # iterations without finite gradients, in all
        self.skipped_in_a_row = 0
        self.last_loss = math.nan  # mean of the iterations logged last, in this process

    def imprint(self, class_means: list[list[Tensor]]) -> None:
        """Lets objectives begin with their classes' means, per group and view (classes, D) of unit length."""
        for objectives, means_of_group in zip(self.objectives, class_means, strict=True):
            for objective, means in zip(objectives, means_of_group, strict=True):
                objective.imprint(means)

    @property
    def iterations(self) -> int:
        """Of the whole training."""
        return self.recipe.schedule.epochs * self.recipe.schedule.iterations_per_epoch

    def fit(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> bool:
        """Trains until all iterations are done, validations do not get better any more, or somebody interrupts.

        Args:
            on_progress: takes the number of finished iterations and of all.

        Returns:
            False where it was interrupted; its state is saved.

        Raises:
            DsformerError: gradients stayed without finite values, data cannot be read, the disk is full.
        """
        with Interruption() as interruption:
            while True:
                epochs, within = divmod(self.iteration, self.recipe.schedule.iterations_per_epoch)
                if within == 0 and epochs > self.closed_epochs:
                    self._close_epoch()
                if self.iteration == self.iterations or self.best.given_up:
                    return True
                if not self._train_epoch(interruption, on_progress):
                    return False

    def _train_epoch(self, interruption: Interruption, on_progress: Callable[[int, int], None]) -> bool:
        """Trains to the end of the epoch; False where it was interrupted, its state saved."""
        schedule = self.recipe.schedule
        epoch, first = divmod(self.iteration, schedule.iterations_per_epoch)
        group = epoch % len(self.data.groups)
        objectives = self.objectives[group]
        for objective in objectives:
            objective.move(self.fabric.device)
        batches = [
            endless_batches(pictures, self.recipe, self.fabric, epoch=epoch, group=group, view=view, first=first)
            for view, pictures in enumerate(self.data.groups[group])
        ]
        training_mode(self.model, self.recipe.model)
        steps, since = [], time.perf_counter()
        try:
            while True:
                steps.append(self.step(batches, objectives))
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
        for objective in objectives:
            objective.move(torch.device("cpu"))
        return not interrupted

    def step(self, batches: list[Batches], objectives: list[Objective]) -> Step:
        """One iteration: a batch of each view, forward, backward, one step of all optimisers.

        Args:
            batches: per view, parts of a batch for this process.
            objectives: per view, on the device.
        """
        recipe, fabric = self.recipe, self.fabric
        torch.manual_seed(_seed(recipe.schedule.seed, self.iteration, fabric.global_rank))
        factor = learning_rate_factor(self.iteration, recipe)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = parameters["initial_lr"] * factor

        statistics = self.branch.statistics()
        losses = [
            self._backward(parts, objective, last=view == len(batches) - 1)
            for view, (parts, objective) in enumerate(zip(batches, objectives, strict=True))
        ]
        for objective in objectives:
            for parameter in objective.parameters():
                # Single tensors: they need no wrapper to have the same gradient in all processes.
                parameter.grad = self._over_processes(parameter.grad, "mean")

        optimizers = [self.optimizer, *(objective.optimizer for objective in objectives if objective.optimizer)]
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = _gradient_norm(optimizers)
        finite = not self._anywhere(not torch.isfinite(norm + sum(losses)).item())
        if finite:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
        else:
            # What overflowed has gone through the normalisation's running statistics as well.
            restore(statistics)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        return Step(tuple(float(loss) for loss in losses), float(norm), finite)

    def _backward(self, parts: Batches, objective: Objective, last: bool) -> Tensor:
        """The loss of a view's batch, after its gradients were added to those that are there.

        Args:
            parts: of a batch, for this process.
            objective: of the view.
            last: whether it is the iteration's last view, after which processes exchange gradients.
        """
        accumulate = self.recipe.schedule.accumulate
        # Where pictures are compared with each other all parts are needed at once, else one after the other.
        at_once = accumulate if objective.compares_pictures else 1
        total = torch.zeros((), device=self.fabric.device)
        for first in range(0, accumulate, at_once):
            taken = [self.fabric.to_device(next(parts)) for _ in range(at_once)]
            classes = torch.cat([of_part for _, of_part in taken])
            exchange = last and first + at_once == accumulate
            with self.fabric.no_backward_sync(self.network, enabled=not exchange):
                outputs = self.network([self.augment(pictures) for pictures, _ in taken])
                if objective.compares_pictures:
                    outputs, classes = self._of_all_processes(outputs), self._of_all_processes(classes)
                loss = objective(outputs, classes) * at_once / accumulate
                self.fabric.backward(loss)
            total += loss.detach()
        return total

    def _of_all_processes(self, tensor: Tensor) -> Tensor:
        """(B, ...) of this process -> (B * processes, ...) of all, in every one of them.

        Each process then has the loss of all pictures and gets, for its own, the sum of the gradients of all those
        equal losses; the mean over processes that follows makes it the gradient of one.
        """
        if self.fabric.world_size == 1:
            return tensor
        gathered = self.fabric.all_gather(tensor, sync_grads=tensor.requires_grad)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

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
                **{f"loss_of_view_{view}": "" for view in range(max(map(len, self.objectives)))},
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
                shown = [f"{k} {v:.1%}" for k, v in numbers.items() if k.endswith(("@1", "@5"))]
                self.report(f"epoch {self.closed_epochs}: {', '.join(shown)}")
                self.run.log("validation", {"iteration": self.iteration, "epoch": self.closed_epochs, **numbers})
                if self.best.improves(numbers):
                    save_checkpoint(self.model, self.run.best)
            save_checkpoint(self.model, self.run.last)
        self.best.restore(self.fabric.broadcast(self.best.state()))  # and so others wait for the first process
        if self.best.given_up:
            self.report(f"ended: {self.best.since} validations in a row were no better than {self.best}")
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
                "best": self.best.state(),
                "skipped": self.skipped,
                "skipped_in_a_row": self.skipped_in_a_row,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "objectives": [[objective.state() for objective in group] for group in self.objectives],
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
        for group, saved_group in zip(self.objectives, state["objectives"], strict=True):
            for objective, saved in zip(group, saved_group, strict=True):
                objective.restore(saved)
        self.scaler.load_state_dict(state["scaler"])
        self.best.restore(state["best"])
        for name in ("iteration", "closed_epochs", "skipped", "skipped_in_a_row"):
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
