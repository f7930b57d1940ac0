"""What training drives descriptors towards: the losses, as the loop sees them."""

from typing import Any

import torch
from torch import Tensor, nn


class Objective(nn.Module):
    """The loss of one view of a group, and what is trained along with it.

    Attributes:
        compares_pictures: whether the loss is one of pairs of pictures. Then it is given the whole batch, that of other
            processes included; else any part of it, and the losses of parts may be averaged.
        optimizer: of the objective's own parameters; None where it has none.
    """

    compares_pictures: bool = False
    optimizer: torch.optim.Optimizer | None = None

    def forward(self, outputs: Tensor, classes: Tensor) -> Tensor:
        """What the network gives for B pictures, (B, D), and their classes, (B,) int64 -> the loss, a scalar."""
        raise NotImplementedError

    def imprint(self, means: Tensor) -> None:
        """Begins with what the classes look like, (classes, D) of unit length, where it remembers classes at all."""

    def move(self, device: torch.device) -> None:
        """Takes weights and optimiser to a device: only the group in training lies where memory is scarce."""
        self.to(device)
        if self.optimizer is not None:
            for state in self.optimizer.state.values():
                # Adam counts its steps on the CPU, whatever the device of the weights.
                state.update({key: value.to(device) for key, value in state.items() if key != "step"})

    def state(self) -> dict[str, Any]:
        """What `restore` takes, to be written to a file."""
        return {"weights": self.state_dict(), "optimizer": self.optimizer.state_dict() if self.optimizer else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where it was."""
        self.load_state_dict(state["weights"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
