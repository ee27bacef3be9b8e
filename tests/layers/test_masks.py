"""Masks: one meaning, right algebra, each expression lowered once."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.layers.lowering import MaskLowering
from transformer_zoo.layers.masks import (
    Causal,
    Everything,
    GlobalTokens,
    Mask,
    MaskOperands,
    Nothing,
    Padding,
    Prefix,
    SameDocument,
    Window,
)

B, T = 2, 6
slots = torch.arange(T)
valid = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6]).bool()
documents = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 2, 2, 2]])
prefix = torch.tensor([3, 0])
is_global = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]).bool()
FULL = MaskOperands(
    query_slots=slots,
    key_slots=slots,
    key_valid=valid,
    query_documents=documents,
    key_documents=documents,
    prefix_length=prefix,
    query_global=is_global,
    key_global=is_global,
)

RULES = {
    Everything(): lambda b, t, s: True,
    Nothing(): lambda b, t, s: False,
    Causal(): lambda b, t, s: s <= t,
    Window(2, 1): lambda b, t, s: t - 2 <= s <= t + 1,
    Padding(): lambda b, t, s: bool(valid[b, s]),
    SameDocument(): lambda b, t, s: bool(documents[b, t] == documents[b, s]),
    Prefix(): lambda b, t, s: s < int(prefix[b]),
    GlobalTokens(): lambda b, t, s: bool(is_global[b, t] or is_global[b, s]),
}


def table(rule) -> torch.Tensor:
    return torch.tensor([[[[rule(b, t, s) for s in range(T)] for t in range(T)]] for b in range(B)])


def test_every_leaf_means_what_it_says():
    for mask, rule in RULES.items():
        assert torch.equal(mask.dense(FULL).expand(B, 1, T, T), table(rule)), mask


expressions = st.recursive(
    st.sampled_from(list(RULES)),
    lambda inner: st.tuples(inner, inner, st.booleans()).map(lambda x: x[0] & x[1] if x[2] else x[0] | x[1]),
    max_leaves=6,
)


@given(expressions, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_simplifying_never_changes_the_mask(mask: Mask, has_padding: bool, has_documents: bool, has_prefix: bool, has_global: bool):
    """An absent operand means: nothing padded, one document, no prefix, no global token."""
    given_operands = MaskOperands(
        query_slots=slots,
        key_slots=slots,
        key_valid=valid if has_padding else None,
        query_documents=documents if has_documents else None,
        key_documents=documents if has_documents else None,
        prefix_length=prefix if has_prefix else None,
        query_global=is_global if has_global else None,
        key_global=is_global if has_global else None,
    )
    spelt_out = MaskOperands(
        query_slots=slots,
        key_slots=slots,
        key_valid=valid if has_padding else torch.ones_like(valid),
        query_documents=documents if has_documents else torch.zeros_like(documents),
        key_documents=documents if has_documents else torch.zeros_like(documents),
        prefix_length=prefix if has_prefix else torch.zeros_like(prefix),
        query_global=is_global if has_global else torch.zeros_like(is_global),
        key_global=is_global if has_global else torch.zeros_like(is_global),
    )
    lowered = MaskLowering(given_operands)(mask)
    if lowered.causal:
        dense = Causal().dense(given_operands)
    else:
        dense = Everything().dense(given_operands) if lowered.dense is None else lowered.dense
    assert torch.equal(dense.expand(B, 1, T, T), mask.dense(spelt_out).expand(B, 1, T, T))


def test_a_plain_causal_mask_keeps_the_fast_path():
    bare = MaskOperands(query_slots=slots, key_slots=slots)
    mask = (Causal() | Prefix()) & SameDocument() & Padding() & Everything()
    lowered = MaskLowering(bare)(mask)
    assert lowered.causal
    assert lowered.dense is None
    one_new = MaskLowering(MaskOperands(query_slots=slots[-1:], key_slots=slots))(mask)
    assert not one_new.causal
    assert one_new.dense is None


def test_each_expression_is_lowered_once():
    lower = MaskLowering(FULL)
    assert lower(Causal() & Padding()) is lower(Causal() & Padding())
    pairs = itertools.combinations([Causal(), Window(1, 1), Padding()], 2)
    assert all(lower(a) is not lower(b) for a, b in pairs)
