"""From retrieved references to coarse poses, and to a plain word on whether to trust them.

>>> matches = place_map.search(descriptors, k=config.top_k)[0]
>>> hypotheses = localize(matches, place_map, config)
>>> judge(hypotheses, config)
Verdict(state=<State.LOCALIZED: 'LOCALIZED'>, reason='best hypothesis has probability 0.83, 0.50 is needed')
"""

from dsformer_core.localization.config import LocalizationConfig
from dsformer_core.localization.hypotheses import Hypothesis, localize
from dsformer_core.localization.verdict import State, Verdict, judge

__all__ = ["Hypothesis", "LocalizationConfig", "State", "Verdict", "judge", "localize"]
