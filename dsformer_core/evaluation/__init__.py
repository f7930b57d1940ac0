"""How well a model recognises places: benchmarks, recall with its uncertainty, reports.

>>> benchmark = open_benchmark("pitts30k", root="datasets/")
>>> evaluations = evaluate(benchmark, Extractor("dsformer_resnet50"), index="binary", cache=default_cache())
>>> evaluations["float"].recalls[1], evaluations["binary"].recalls[1], evaluations["re-ranked"].recalls[1]
"""

from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.datasets import DATASETS, open_benchmark
from dsformer_core.evaluation.datasets.layout import LayoutError
from dsformer_core.evaluation.descriptor_cache import default_cache
from dsformer_core.evaluation.evaluation import Evaluation, evaluate
from dsformer_core.evaluation.recall import Recall
from dsformer_core.evaluation.searches import Search

__all__ = [
    "DATASETS",
    "Benchmark",
    "Evaluation",
    "LayoutError",
    "Pictures",
    "Recall",
    "Search",
    "default_cache",
    "evaluate",
    "open_benchmark",
]
