import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer_core.models.dual_scale_former import HEAD_DIM, DualScaleFormer
from dsformer_core.models.relative_position import (
    BUCKETS,
    RelativePositionEncoding,
    grid_buckets,
    piecewise_index,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from official_formulation import official_formulation

GRIDS = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.fixture
def encoding():
    torch.manual_seed(0)
    encoding = RelativePositionEncoding(head_dim=8)
    for table in encoding.parameters():
        torch.nn.init.normal_(table)
    return encoding


def test_offsets_along_an_axis_fall_into_the_published_buckets():
    assert [piecewise_index(offset) for offset in range(9)] == [0, 1, 2, 2, 3, 3, 3, 3, 3]


@given(st.integers(-1000, 1000))
def test_buckets_keep_the_sign_and_stay_in_range(offset):
    assert piecewise_index(-offset) == -piecewise_index(offset)
    assert abs(piecewise_index(offset)) <= 3
    assert (piecewise_index(offset) > 0) == (offset > 0)
    assert piecewise_index(offset + 1) >= piecewise_index(offset)


@given(GRIDS)
def test_a_grid_has_the_bucket_of_query_minus_key_rows_first(grid):
    height, width = grid
    buckets = grid_buckets(height, width).reshape(height, width, height, width)
    for (row, column, key_row, key_column), bucket in np.ndenumerate(buckets):
        assert bucket == 7 * (piecewise_index(row - key_row) + 3) + piecewise_index(column - key_column) + 3
    assert buckets.max() < BUCKETS


@settings(max_examples=20, deadline=None)
@given(grid=GRIDS)
def test_values_agree_with_the_table_of_all_pairs(grid):
    length = math.prod(grid)
    generator = torch.Generator().manual_seed(length)
    encoding = RelativePositionEncoding(head_dim=8).double()
    torch.nn.init.normal_(encoding.of_values)
    attention = torch.rand(2, 3, length, length, generator=generator).double().softmax(-1)
    table = encoding.of_values[0][torch.from_numpy(grid_buckets(*grid))]  # (L, L, head_dim)
    expected = torch.einsum("bhqk,qkd->bhqd", attention, table)
    torch.testing.assert_close(encoding.values(attention, grid), expected)


def test_logits_agree_with_their_definition(encoding):
    grid, length = (3, 5), 15
    queries, keys = torch.randn(2, 2, 4, length, 8)
    buckets = grid_buckets(*grid)
    logits = encoding.logits(queries, keys, grid)
    for query, key in [(0, 0), (0, 14), (14, 0), (3, 7), (7, 3)]:
        of_query = queries[..., query, :] @ encoding.of_queries[0, :, buckets[query, key]]
        of_key = keys[..., key, :] @ encoding.of_keys[0, :, buckets[key, query]]
        torch.testing.assert_close(logits[..., query, key], of_query + of_key)


def test_gradients_are_those_of_finite_differences(encoding):
    encoding.double()
    queries, keys = torch.randn(2, 1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    attention = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k: encoding.logits(q, k, (2, 3)), (queries, keys))
    assert torch.autograd.gradcheck(lambda a: encoding.values(a, (2, 3)), (attention,))


def test_tables_start_without_effect():
    encoding = RelativePositionEncoding(HEAD_DIM)
    assert not encoding.values(torch.rand(1, 1, 4, 4), (2, 2)).any()
    assert not encoding.logits(torch.rand(1, 1, 4, HEAD_DIM), torch.rand(1, 1, 4, HEAD_DIM), (2, 2)).any()


def test_the_module_agrees_with_the_official_formulation():
    torch.manual_seed(0)
    former = DualScaleFormer((128, 192), ((6, 5), (3, 4)), 2, True, True, True, 0.0).eval()
    for name, parameter in former.named_parameters():
        if ".position." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    maps = torch.randn(2, 128, 6, 5), torch.randn(2, 192, 3, 4)
    with torch.inference_mode():
        for ours, official in zip(former(*maps), official_formulation(former)(*maps), strict=True):
            torch.testing.assert_close(ours, official, atol=1e-5, rtol=1e-5)
