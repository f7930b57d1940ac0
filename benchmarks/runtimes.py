"""What exported files gain over PyTorch: one picture at a time, one thread, turn about in one process.

    python benchmarks/runtimes.py dsformer_tiny auto tiny.onnx tiny-int8.onnx
    python benchmarks/runtimes.py dsformer_resnet50 untrained resnet.onnx --repeats 9

The first weights are PyTorch's, as `Extractor` runs them by default; the others are compared with them. Times are of
`Extractor.describe`, resizing included, for a picture that has the network's size already.
"""

import argparse
import json
import time

import numpy as np

from dsformer_core.extractor import Extractor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("weights", nargs="+", help="first PyTorch's, then .onnx or .engine files")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    extractors = [
        Extractor(arguments.model, weights, device=arguments.device, threads=arguments.threads)
        for weights in arguments.weights
    ]
    height, width = extractors[0].preprocessing.size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    expected = extractors[0].extract([picture])
    seconds: list[list[float]] = [[] for _ in extractors]
    for repeat in range(-2, arguments.repeats):
        for extractor, taken in zip(extractors, seconds, strict=True):
            start = time.perf_counter()
            extractor.extract([picture])
            if repeat >= 0:
                taken.append(time.perf_counter() - start)
    medians = [float(np.median(taken)) for taken in seconds]
    for weights, extractor, median, taken in zip(arguments.weights, extractors, medians, seconds, strict=True):
        row = {
            "weights": weights,
            "arithmetic": str(extractor.arithmetic),
            "median_ms": round(1e3 * median, 1),
            "fastest_ms": round(1e3 * min(taken), 1),
            "times_as_fast": round(medians[0] / median, 2),
            "startup_s": round(extractor.startup_seconds, 2),
            "largest_difference": float(np.abs(extractor.extract([picture]) - expected).max()),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
