"""Pictures as they come -> descriptors and codes: decoding, resizing, batching, the network, on any device."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.described import CODE_BYTES, Described, Descriptors
from dsformer_core.devices import PRECISIONS, chosen_device, chosen_precision
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.models import (
    DescriptorModel,
    create_model,
    default_weights,
    weights_digest,
)
from dsformer_core.models.compiled import CompiledForward, Forward
from dsformer_core.models.inference import check_optimize, keep_freed_memory, optimize_for_inference
from dsformer_core.models.registry import model_entry
from dsformer_core.network_input import NetworkInput, decode_size
from dsformer_core.ordered_map import ordered_map
from dsformer_core.pictures import Picture, read_picture
from dsformer_core.runtimes import TORCH, ExportedNetwork, check_probe, choose_runtime, open_exported

UNTRAINED = "untrained"
IN_TRAINING = "in training"
UNTRAINED_SEED = 0
AS_EXPORTED = "as exported"

log = logging.getLogger(__name__)


class Extractor:
    """One model on one device, which describes pictures.

    Attributes:
        model_name: one of `list_models()`.
        weights: what its weights are, for people.
        preprocessing: what pictures go through.
        device: where the network runs.
        precision: in which it computes: "float32", "bfloat16", "float16" or, of exported files, "int8". Descriptors are
            float32 always.
        arithmetic: runtime and precision, and how far they agree with PyTorch in float32.
        descriptor_dim: numbers per descriptor, D.
        code_bytes: bytes per code, 64; 0 where the network has no hash branch.
        optimize: how its computing was made faster: "off", "safe" or "max"; `AS_EXPORTED` of exported files.
    """

    _forward: Forward
    _compiled: CompiledForward | None

    def __init__(
        self,
        model: str,
        weights: str | Path | None = "auto",
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        optimize: str = "safe",
        runtime: str = "auto",
    ) -> None:
        """Loads the network.

        Args:
            model: one of `list_models()`.
            weights: a file, the name of released weights, "auto" for those released for the model, or None or
                "untrained" for random ones, whose descriptors know nothing of places. An .onnx or .engine file that
                `dsformer export` wrote is computed by ONNX Runtime or TensorRT.
            device: "auto" (CUDA where there is any), "cpu", "cuda", or "cuda:1"; for ONNX Runtime also "tensorrt".
            precision: "auto" (bfloat16 on CUDA, float16 where that is all it has, float32 on the CPU), "float32",
                "bfloat16" or "float16". On CUDA, float32 turns TF32 convolutions off for the whole process.
            threads: CPU threads of the network, for the whole process; None leaves them.
            runtime: "torch", "onnx" or "tensorrt"; "auto" goes by the file of the weights.
            optimize: "safe" rewrites the network to compute the same faster (`optimize_for_inference`) and, from the
                first batch of several pictures on a CPU on, lets the whole process keep memory that it frees
                (`keep_freed_memory`); "off" leaves both; "max" compiles it as well, when the first batch of each size
                comes, which takes a minute or so (`CompiledForward`). Exported files were optimized when they were
                made.

        Raises:
            UsageError: there is no such model, weights, device, precision, optimization or runtime, or an exported file
                holds another model or precision.
            DsformerError: the weights, the device, the runtime or, for "max", a compiler are not on this machine.
        """
        start = time.perf_counter()
        check_optimize(optimize)
        chosen_runtime = choose_runtime(weights, runtime)
        if threads is not None:
            torch.set_num_threads(_at_least_one("threads", threads))
        if chosen_runtime != TORCH:
            assert weights is not None
            self._take_exported(open_exported(chosen_runtime, Path(weights), device=device), model, precision)
            self._load_seconds = time.perf_counter() - start
            return
        where = chosen_device(device)
        arithmetic = chosen_precision(precision, where)
        network, label = load_network(model, weights)
        if optimize != "off":
            # Of the weights as they were released. Then rewritten before they are copied: a GPU never holds both forms.
            digest = weights_digest(network)
            half = None if arithmetic == "float32" else PRECISIONS[arithmetic]
            optimize_for_inference(network, float32=half is None, half=half, device=where, pack=optimize != "max")
        self._take(network, model, label, where, arithmetic)
        if optimize != "off":
            self.weights_sha256 = digest
            self._keeps_memory = where.type == "cpu"
        if optimize == "max":
            self._compiled = CompiledForward(self._forward, where)
            self._forward = self._compiled
        self.optimize = optimize
        self._load_seconds = time.perf_counter() - start

    @classmethod
    def of_model(
        cls, model: DescriptorModel, name: str, *, device: str | None = None, precision: str = "auto"
    ) -> "Extractor":
        """Wraps a network that is in memory, for instance one that is being trained.

        Args:
            model: it is put into evaluation mode and stays there: who goes on training calls `model.train()`.
            name: what to call it; need not be one of `list_models()`.
            device: as for `Extractor`; None leaves the network where it is.
            precision: as for `Extractor`.

        Returns:
            An extractor that shares the network's weights. `weights_sha256` is of the weights at its first use; make
            another extractor once they have changed.

        Raises:
            UsageError: there is no such device or precision.
        """
        extractor = cls.__new__(cls)
        where = next(model.parameters()).device if device is None else chosen_device(device)
        extractor._take(model.eval(), name, IN_TRAINING, where, chosen_precision(precision, where))
        return extractor

    @classmethod
    def of_exported(cls, network: ExportedNetwork) -> "Extractor":
        """Wraps an exported file that is open.

        Raises:
            DsformerError: it does not compute here what it did when it was made.
        """
        extractor = cls.__new__(cls)
        extractor._take_exported(network, network.about.model, "auto")
        return extractor

    def _take_exported(self, network: ExportedNetwork, name: str, precision: str) -> None:
        """A file of `dsformer export` in place of a network of PyTorch.

        Raises:
            UsageError: it holds another model, or computes in another precision.
            DsformerError: it does not compute here what it did when it was made.
        """
        about = network.about
        require_holds(network, name, precision)
        agreement = check_probe(network)
        self.model_name, self.weights, self.weights_sha256 = name, about.weights, about.weights_sha256
        self.preprocessing, self.device, self.precision = about.preprocessing, network.device, about.precision
        self.descriptor_dim, self.code_bytes = about.descriptor_dim, about.code_bytes
        self.arithmetic = about.arithmetic(network.runtime, agreement)
        self.optimize, self._load_seconds = AS_EXPORTED, 0.0
        self._compiled, self._keeps_memory, self._forward = None, False, network
        self._input = NetworkInput(about.preprocessing, network.device)

    @property
    def runtime(self) -> str:
        """What computes: "torch", "onnx" or "tensorrt"."""
        return self.arithmetic.runtime

    @property
    def computing(self) -> str:
        """In what, by what, and where that is this program's to choose, how it was made faster; for people."""
        by_what = f"{self.precision} by {self.runtime}"
        return by_what if self.optimize == AS_EXPORTED else f"{by_what}, optimize {self.optimize}"

    def _take(self, network: DescriptorModel, name: str, weights: str, device: torch.device, precision: str) -> None:
        preprocessing = network.preprocessing
        self.model_name, self.weights = name, weights
        self.preprocessing, self.device, self.precision = preprocessing, device, precision
        self.descriptor_dim = network.descriptor_dim
        self.code_bytes = CODE_BYTES if network.has_codes else 0
        self.arithmetic = Arithmetic(TORCH, precision)
        if device.type == "cuda" and precision == "float32":
            # By default convolutions would round to TF32's 10 bits. The setting is the process's: set and put back
            # around each batch, it would change under another thread's.
            torch.backends.cudnn.allow_tf32 = False
        self._network = network.to(device)
        self._compiled = None
        self._keeps_memory = False
        self.optimize, self._load_seconds = "off", 0.0
        self._forward = partial(_describe_or_embed, self._network)
        self._input = NetworkInput(preprocessing, device)

    @cached_property
    def weights_sha256(self) -> str:
        """`weights_digest` of the network: names the weights in a map, whatever file they came from."""
        return weights_digest(self._network)

    @property
    def startup_seconds(self) -> float:
        """What loading has taken, and compiling so far."""
        return self._load_seconds + (0.0 if self._compiled is None else self._compiled.compile_seconds)

    def extract(self, images: Sequence[Picture], *, batch_size: int = 8) -> Descriptors:
        """The descriptors of pictures that are in memory: what `describe` gives, without codes.

        Returns:
            (N, D) float32, unit L2 norm, finite.
        """
        return self.describe(images, batch_size=batch_size).descriptors

    def describe(self, images: Sequence[Picture], *, batch_size: int = 8) -> Described:
        """Describes pictures that are in memory.

        Args:
            images: HxWx3 uint8 RGB, upright, of any sizes.
            batch_size: how many enter the network at a time.

        Returns:
            Descriptors, finite, and codes where the network gives any. In float32 a picture's descriptor does not
            depend on the others beyond 1e-5; in half precision, beyond that precision.

        Raises:
            ValueError: something in `images` is no such array.
            DsformerError: the network failed: out of memory, or numbers beyond the precision's range.
        """
        _at_least_one("batch_size", batch_size)
        described = []
        for start in range(0, len(images), batch_size):
            batch = [
                self._input.ready(image, f"images[{row}]")
                for row, image in enumerate(images[start:][:batch_size], start)
            ]
            described.append(self._describe(batch))
        return self._together(described)

    def extract_files(
        self,
        paths: Iterable[str | Path],
        *,
        batch_size: int = 8,
        workers: int = 2,
        strict: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> Descriptors:
        """Describes picture files, decoded in threads while the network computes.

        Args:
            paths: files, in the order of the result's rows.
            batch_size: how many enter the network at a time.
            workers: threads that decode.
            strict: whether an unreadable file ends the work.
            on_progress: called with the number of files finished since its last call.

        Returns:
            (N, D) float32, unit L2 norm; a row of NaN for each unreadable file, which is logged with the reason.

        Raises:
            DsformerError: a file is unreadable and `strict` is set, or the network failed.
        """
        loaders = (self.loader(path) for path in paths)
        rows: list[Descriptors] = []
        with closing(self.extract_pictures(loaders, batch_size=batch_size, workers=workers)) as results:
            for _, result in results:
                if isinstance(result, DsformerError):
                    if strict:
                        raise result
                    log.warning("%s", result)
                    rows.append(np.full((1, self.descriptor_dim), np.nan, np.float32))
                else:
                    rows.append(result.descriptors)
                if on_progress is not None:
                    on_progress(1)
        return np.concatenate(rows) if rows else np.empty((0, self.descriptor_dim), np.float32)

    @property
    def decode_size(self) -> tuple[int, int]:
        """Width and height below which a picture must not be decoded for this network; see `decode_size`."""
        return decode_size(self.preprocessing)

    def resized(self, image: Picture) -> Picture:
        """What the network gets of a picture: see `NetworkInput.resized`. It may be given in the picture's place."""
        return self._input.resized(image, "the picture")

    def prepare(self, images: Sequence[Picture]) -> Tensor:
        """Pictures as the network gets them: (B, 3, H, W) float32 on its device, normalised."""
        return self._input.batch([self.resized(image) for image in images])

    def loader(self, path: str | Path) -> Callable[[], Picture]:
        """What decodes a picture file as large as this network needs it, for `extract_pictures`."""
        return partial(read_picture, path, at_least=self.decode_size)

    def extract_pictures(
        self,
        loaders: Iterable[Callable[[], Picture]],
        *,
        batch_size: int = 8,
        workers: int = 2,
        together: int | None = None,
    ) -> Generator[tuple[int, Described | DsformerError], None, None]:
        """Describes a stream of pictures; decoding and resizing happen in threads, a bounded number ahead.

        Closing the iterator, or Ctrl-C, ends the threads after what they are decoding.

        Args:
            loaders: each returns HxWx3 uint8 RGB or raises DsformerError; called in worker threads.
            batch_size: how many enter the network at a time.
            workers: threads that decode.
            together: no batch has pictures of two such runs of `loaders`, so that a run gives the same bits whatever
                came before it; None for one run.

        Yields:
            (index, what the network says of that one picture) in the order of `loaders`, or (index, error) for what
            could not be read.

        Raises:
            DsformerError: the network failed.
        """
        _at_least_one("batch_size", batch_size)
        _at_least_one("workers", workers)
        waiting: list[tuple[int, Picture | DsformerError]] = []
        with closing(ordered_map(self._load, enumerate(loaders), workers=workers, ahead=2 * batch_size)) as prepared:
            for item in prepared:
                waiting.append(item)
                full = sum(isinstance(content, np.ndarray) for _, content in waiting) == batch_size
                if full or (together is not None and (item[0] + 1) % together == 0):
                    yield from self._finish(waiting)
                    waiting = []
            yield from self._finish(waiting)

    def _load(self, numbered: tuple[int, Callable[[], Picture]]) -> tuple[int, Picture | DsformerError]:
        index, loader = numbered
        try:
            return index, self._input.ready(loader(), f"picture {index}")
        except DsformerError as error:
            return index, error

    def _finish(
        self, waiting: list[tuple[int, Picture | DsformerError]]
    ) -> Iterator[tuple[int, Described | DsformerError]]:
        batch = [content for _, content in waiting if isinstance(content, np.ndarray)]
        described = self._describe(batch) if batch else None
        row = 0
        for index, content in waiting:
            if isinstance(content, DsformerError):
                yield index, content
            else:
                assert described is not None
                yield index, described[row]
                row += 1

    @torch.inference_mode()
    def _describe(self, batch: list[Picture]) -> Described:
        """What the network says of pictures that are ready for it."""
        if self._keeps_memory and len(batch) > 1:
            keep_freed_memory()
        # An exported file has its precision within.
        half = self.runtime == TORCH and self.precision != "float32"
        # What it caches while a CUDA graph is recorded would be gone when that runs.
        cached = self.optimize != "max"
        autocast = (
            torch.autocast(self.device.type, PRECISIONS[self.precision], cache_enabled=cached)
            if half
            else nullcontext()
        )
        try:
            images = self._input.batch(batch)
            with autocast:
                found, signs = self._forward(images)
            # Normalised once more in float32: half precision leaves the norm off by 1e-3.
            descriptors = torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()
            codes = None if signs is None else np.packbits(signs.cpu().numpy() > 0, axis=1)
        except torch.cuda.OutOfMemoryError as error:
            raise DsformerError(f"{self.device}: out of memory at batch size {len(batch)}: choose a smaller") from error
        norms = np.linalg.norm(descriptors, axis=1)
        if not np.allclose(norms, 1, atol=1e-3):
            raise DsformerError(
                f"{self.model_name} ({self.weights}) gave a descriptor that is not finite or zero in {self.precision}: "
                "the weights are damaged, or need precision float32"
            )
        return Described(descriptors, codes)

    def _together(self, described: list[Described]) -> Described:
        """Batches of pictures as one."""
        descriptors = [np.empty((0, self.descriptor_dim), np.float32), *(batch.descriptors for batch in described)]
        codes = [np.empty((0, self.code_bytes), np.uint8), *(b.codes for b in described if b.codes is not None)]
        return Described(np.concatenate(descriptors), np.concatenate(codes) if self.code_bytes else None)


def _describe_or_embed(network: DescriptorModel, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """A network as it is: its descriptors, and codes where it gives any."""
    return network.describe(images) if network.has_codes else (network(images), None)


def load_network(model: str, weights: str | Path | None) -> tuple[DescriptorModel, str]:
    """A network of PyTorch, on the CPU, and what its weights are, for people.

    Args:
        model: as for `Extractor`.
        weights: as for `Extractor`, but no exported file.

    Raises:
        UsageError: there is no such model or weights.
        DsformerError: the weights are not on this machine.
    """
    if weights is None or str(weights) == UNTRAINED:
        announce_untrained(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            return create_model(model), UNTRAINED
    chosen = default_weights(model) if str(weights) == "auto" else weights
    return create_model(model, chosen), Path(chosen).name


def require_holds(network: ExportedNetwork, model: str, precision: str) -> None:
    """Refuses an exported file that is not what was asked for.

    Raises:
        UsageError: it holds another model, or computes in another precision.
    """
    about = network.about
    model_entry(model)
    if about.model != model:
        raise UsageError(f"{network.path}: holds a {about.model}, not a {model}")
    if precision not in ("auto", about.precision):
        raise UsageError(f"{network.path} computes in {about.precision}, not in {precision}: export it so, or say auto")


def announce_untrained(model: str) -> None:
    """Says loudly that a network is of no use but to try things out."""
    log.warning("UNTRAINED WEIGHTS: %s is random, its descriptors know nothing of places", model)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{name} is {value}: it must be 1 or more")
    return value
