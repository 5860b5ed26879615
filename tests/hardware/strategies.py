"""Blocks that hold together, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from nas.architecture import BlockSpec

CHANNELS = st.integers(2, 24).map(lambda n: 8 * n)


@st.composite
def blocks(draw: st.DrawFn) -> BlockSpec:
    kind = draw(st.sampled_from(("conv", "mbconv", "pool", "linear")))
    in_chs, out_chs, size = draw(CHANNELS), draw(CHANNELS), draw(st.integers(1, 64))
    if kind == "pool":
        return BlockSpec("pool", "pool", in_chs, in_chs, size)
    if kind == "linear":
        return BlockSpec("classifier", "linear", in_chs, out_chs, 1)
    kernel, stride = draw(st.sampled_from((1, 3, 5, 7))), draw(st.sampled_from((1, 2)))
    act = draw(st.sampled_from(("relu", "relu6", "hardswish", "silu")))
    if kind == "conv":
        return BlockSpec("stem", "conv", in_chs, out_chs, size, kernel, stride, act)
    expand = draw(st.booleans())
    mid_chs = in_chs * draw(st.integers(1, 6)) if expand else in_chs
    se_chs = draw(st.sampled_from((0, 8)))
    residual = stride == 1 and in_chs == out_chs and draw(st.booleans())
    groups = draw(st.sampled_from((1, 2)))
    return BlockSpec(
        "s1.b1", "mbconv", in_chs, out_chs, size, kernel, stride, act,
        mid_chs=mid_chs, expand=expand, groups=groups, se_chs=se_chs, residual=residual,
    )  # fmt: skip


networks = st.lists(blocks(), min_size=1, max_size=8).map(tuple)
