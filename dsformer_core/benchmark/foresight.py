"""What cannot be measured here is refused before any process was started for it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsformer_core.benchmark.configuration import Configuration
from dsformer_core.devices import chosen_device
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.extractor import UNTRAINED, require_holds
from dsformer_core.models.weights import default_weights, named_weights, require_weights
from dsformer_core.runtimes import TORCH, choose_runtime, open_exported
from dsformer_core.runtimes.tensorrt_provider import is_tensorrt


def refuse_what_cannot_run(configurations: Sequence[Configuration]) -> None:
    """Looks whether runtime, device, weights and model go together and are on this machine.

    Raises:
        UsageError: one is not, or does not.
    """
    # A file is opened once, whatever is measured with it.
    alike = dict.fromkeys(replace(one, optimize="safe", batch=1, threads=1) for one in configurations)
    for configuration in alike:
        try:
            _check(configuration)
        except UsageError:
            raise
        except DsformerError as error:
            raise UsageError(str(error)) from error


def _check(configuration: Configuration) -> None:
    model, weights, device = configuration.model, configuration.weights, configuration.device
    runtime = choose_runtime(weights, configuration.runtime)
    if runtime == TORCH:
        chosen_device(device)
        if weights == "auto":
            default_weights(model)
        elif weights != UNTRAINED and not Path(weights).is_file():
            require_weights(model, named_weights(model, weights))
    else:
        # Opening it for ONNX Runtime's TensorRT provider would build an engine, for minutes: its worker does.
        where = "cpu" if is_tensorrt(device) else device
        require_holds(open_exported(runtime, Path(weights), device=where), model, configuration.precision)
