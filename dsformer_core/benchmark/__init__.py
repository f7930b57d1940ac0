"""How fast, how large, how soon: networks and the way of a picture to a hypothesis, each in a process of its own.

>>> found = measure([Configuration("dsformer_tiny", optimize="safe")], against=True)
>>> found.rows[0]["p95_ms"], found.rows[0]["times_as_fast"]
"""

from dsformer_core.benchmark.configuration import Configuration
from dsformer_core.benchmark.measuring import Limits, measure
from dsformer_core.benchmark.report import Measured

__all__ = ["Configuration", "Limits", "Measured", "measure"]
