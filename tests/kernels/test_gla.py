"""Gated linear attention: the recurrence, and its chunked form for training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.gla import (
    active,
    decay_step,
    gla_chunk,
    gla_sequence,
    gla_step,
    lazy_step,
    log_gate,
)

torch.set_num_threads(1)


def sample(seed, length, heads=2, d_k=4, d_v=3, gate=0.5, batch=1):
    """q, k, v and log decays of up to -2 * gate per token."""
    rng = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, batch, length, heads, d_k, generator=rng).relu()
    v = torch.randn(batch, length, heads, d_v, generator=rng)
    return q, k, v, -2 * gate * torch.rand(batch, length, heads, d_k, generator=rng)


def attention(q, k, v, g):
    """Closed form in float64: o_t = sum_{s<=t} (q_t * prod_{s<r<=t} exp(g_r)) . k_s v_s."""
    q, k, v, g = (a.double().numpy() for a in (q, k, v, g))
    out = np.zeros(v.shape)
    for b, t, h in np.ndindex(*q.shape[:3]):
        for s in range(t + 1):
            seen = q[b, t, h] * np.exp(g[b, s + 1 : t + 1, h].sum(0)) * k[b, s, h]
            out[b, t, h] += seen.sum() * q.shape[-1] ** -0.5 * v[b, s, h]
    return out


def test_a_gate_decays_by_the_root_of_its_sigmoid():
    gate = torch.tensor([-30.0, -1.0, 0.0, 2.0, 40.0])
    expected = (1 / (1 + np.exp(-gate.double().numpy()))) ** (1 / 16)
    found = log_gate(gate, 16).exp()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_the_decay_acts_on_keys_before_the_token_is_added():
    state = torch.tensor([[[4.0, 8.0], [16.0, 32.0]]])  # [head, d_k, d_v]
    decay = torch.tensor([[0.5, 0.25]]).log()
    q, k, v = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])
    out, new = gla_step(state, q, k, v, decay)
    assert new[0].tolist() == [[12.0, 24.0], [24.0, 48.0]]
    assert out[0].tolist() == pytest.approx([84 / 2**0.5, 168 / 2**0.5])


def test_a_decay_may_be_given_itself():
    q, k, v, _ = (a[0, 0] for a in sample(1, 1))
    state, decay = torch.full((2, 4, 3), 2.0), torch.tensor([[0.0, 0.5, 1.0, 0.25]] * 2)
    out, new = decay_step(state, q, k, v, decay)
    wanted = 2 * decay.double().numpy()[..., None] + np.einsum("hk,hv->hkv", k.double(), v.double())
    np.testing.assert_allclose(new.numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(out, np.einsum("hk,hkv->hv", q.double(), wanted) / 2, atol=1e-6)
    for got, want in zip(gla_step(state, q, k, v, decay.log()), (out, new), strict=True):
        torch.testing.assert_close(got, want)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 20),
    most=st.integers(0, 5),
    silent=st.sampled_from([0.0, 0.6, 0.9, 1.0]),
)
def test_decays_that_wait_until_a_row_is_touched_change_no_value(seed, length, most, silent):
    q, k, v, g = (a[0] for a in sample(seed, length))
    q, k = (a * (torch.rand(a.shape, generator=torch.Generator().manual_seed(seed)) >= silent)
            for a in (q, k))  # fmt: skip
    state, lazy = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    pending = [[[] for _ in range(4)] for _ in range(2)]
    for t in range(length):
        wanted, state = decay_step(state, q[t], k[t], v[t], g[t].exp())
        assert (lazy_step(lazy, pending, q[t], k[t], v[t], g[t].exp(), most) == wanted).all()
        assert max(len(late) for head in pending for late in head) <= most
    for head, channel in np.ndindex(2, 4):
        for decay in pending[head][channel]:
            lazy[head, channel] *= decay
    assert (lazy == state).all()


def test_a_silent_row_is_left_alone_until_as_many_decays_wait_as_may():
    state, pending = torch.full((1, 1, 2), 8.0), [[[]]]
    none, v, decay = torch.zeros(1, 1), torch.ones(1, 2), torch.full((1, 1), 0.5)
    seen = []
    for _ in range(4):
        lazy_step(state, pending, none, none, v, decay, 2)
        seen.append((state[0, 0, 0].item(), len(pending[0][0])))
    assert seen == [(8.0, 1), (8.0, 2), (1.0, 0), (1.0, 1)]
    lazy_step(state, pending, torch.ones(1, 1), none, v, decay, 2)
    assert (state[0, 0, 0].item(), len(pending[0][0])) == (0.25, 0)


def test_a_channel_is_active_by_its_query_or_by_its_key():
    q, k = torch.tensor([[0.0, 2.0, 0.0, 1e-40]]), torch.tensor([[0.0, 0.0, 3.0, 1.0]])
    assert active(q, k).tolist() == [[0, 1, 2, 3]]


def test_the_recurrence_is_attention_with_decaying_weights():
    given_ = sample(0, 12, batch=2)
    np.testing.assert_allclose(gla_sequence(*given_).numpy(), attention(*given_), atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 40),
    chunk=st.sampled_from([1, 2, 5, 16, 32]),
    gate=st.sampled_from([0.001, 0.5, 5.0, 50.0, 1000.0]),
)
def test_chunks_give_what_the_recurrence_gives(seed, length, chunk, gate):
    given_ = sample(seed, length, gate=gate)
    expected = gla_sequence(*given_)
    torch.testing.assert_close(gla_chunk(*given_, chunk), expected, atol=1e-5, rtol=1e-4)


def test_chunks_forget_all_where_a_gate_is_shut():
    q, k, v, g = sample(3, 9)
    g[:, 5] = -torch.inf
    found = gla_chunk(q, k, v, g, 8)
    torch.testing.assert_close(found[:, 5:], gla_chunk(q, k, v, g, 1)[:, 5:])
    fresh = gla_sequence(*(a[:, 5:] for a in (q, k, v, g)))
    torch.testing.assert_close(found[:, 5:], fresh, atol=1e-6, rtol=1e-5)


def test_gradients_of_chunks_are_those_of_the_recurrence():
    gradients = []
    for form in (gla_sequence, lambda *a: gla_chunk(*a, 4)):
        given_ = [a.requires_grad_() for a in sample(5, 11)]
        form(*given_).square().sum().backward()
        gradients.append([a.grad for a in given_])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_the_future_does_not_change_the_past():
    q, k, v, g = sample(6, 20)
    whole = gla_chunk(q, k, v, g, 8)
    part = gla_chunk(*(a[:, :13] for a in (q, k, v, g)), 8)
    torch.testing.assert_close(whole[:, :13], part, atol=1e-6, rtol=1e-5)
