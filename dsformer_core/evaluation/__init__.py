"""How well a model recognises places: benchmarks, recall with its uncertainty, reports.

>>> benchmark = open_benchmark("pitts30k", root="datasets/")
>>> evaluation = evaluate(benchmark, Extractor("dsformer_resnet50"), cache=default_cache())
>>> evaluation.recalls[1]
"""

from dsformer_core.evaluation.benchmark import Benchmark, Pictures
from dsformer_core.evaluation.datasets import DATASETS, open_benchmark
from dsformer_core.evaluation.datasets.layout import LayoutError
from dsformer_core.evaluation.descriptor_cache import default_cache
from dsformer_core.evaluation.evaluation import Evaluation, evaluate
from dsformer_core.evaluation.recall import Recall

__all__ = [
    "DATASETS",
    "Benchmark",
    "Evaluation",
    "LayoutError",
    "Pictures",
    "Recall",
    "default_cache",
    "evaluate",
    "open_benchmark",
]
