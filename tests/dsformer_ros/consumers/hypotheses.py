"""Whatever the core may hand over to be published, for property tests."""

import math

import numpy as np
from hypothesis import strategies as st

from dsformer_core.geodesy import Datum, MapFrame, UtmZone
from dsformer_core.localization import Hypothesis

FRAME = MapFrame(Datum(55.7, 13.2, 40.0), UtmZone(33, True))
FARTHEST = 20_000

_metres = st.floats(-FARTHEST, FARTHEST)


@st.composite
def hypotheses(draw: st.DrawFn) -> Hypothesis:
    """Unknown yaw and altitude, correlated axes, narrow ellipses and ones of a kilometre included."""
    root = np.array([[draw(st.floats(-9, 9)) for _ in range(3)] for _ in range(3)])
    yaw = draw(st.one_of(st.just(math.nan), st.floats(-math.pi, math.pi)))
    covariance = root @ root.T + np.diag([1.0, 1.0, 0.01])
    # Maps with far between references, and beliefs that have spread.
    covariance[:2, :2] *= draw(st.sampled_from([1.0, 1.0, 12.0, 1e4]))
    covariance[:2, 2] = covariance[2, :2] = 0.0
    if math.isnan(yaw):
        covariance[2] = covariance[:, 2] = 0.0
        covariance[2, 2] = math.pi**2
    return Hypothesis(
        utm=FRAME.to_utm([draw(_metres), draw(_metres)]),
        altitude=draw(st.one_of(st.just(math.nan), st.floats(-400, 9000))),
        yaw=yaw,
        covariance=covariance,
        probability=draw(st.floats(0.001, 0.999)),
        similarity=draw(st.floats(-1, 1)),
        references=np.array([draw(st.integers(0, 10**6))]),
    )
