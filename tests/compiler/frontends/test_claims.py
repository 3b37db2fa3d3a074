"""Storages are as long as the entries that hold them, however the pickle names them."""

import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from compiler.frontends.claims import check_claims
from hw_models.errors import BadInput

HELD = {"0": 24, "1": 6}
HONEST = (("Float", "0", 6), ("Half", "1", 3))


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def claim(kind: str, key: str, elements: int) -> bytes:
    """A persistent id as torch.save writes it, without the memo."""
    return (
        b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu")
        + b"J" + elements.to_bytes(4, "little", signed=True) + b"tQ"
    )  # fmt: skip


def test_honest_claims_pass():
    check_claims(b"\x80\x02" + b"".join(claim(*c) for c in HONEST) + b".", HELD, "m.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.complex64])
def test_what_torch_saves_claims_what_it_holds(tmp_path, dtype):
    path, shared = tmp_path / "m.pt", torch.ones(40, dtype=dtype)
    content = OrderedDict(a=shared[:7], b=shared.view(5, 8).T, c=torch.nn.Linear(3, 4).weight)
    torch.save({"x": content, "y": [torch.zeros(2, 0, dtype=dtype), shared]}, path)
    with zipfile.ZipFile(path) as archive:
        sizes = {n[len("m/data/") :]: archive.getinfo(n).file_size for n in archive.namelist()}
        check_claims(archive.read("m/data.pkl"), sizes, "m.pt")
        one_more = {key: size + 1 for key, size in sizes.items()}
        with pytest.raises(BadInput, match="storage '0' claims"):
            check_claims(archive.read("m/data.pkl"), one_more, "m.pt")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (claim("Float", "0", 7), r"storage '0' claims 28 bytes, the file holds 24"),
        (claim("Float", "0", 5), "claims 20 bytes"),
        (claim("Double", "0", 6), "claims 48 bytes"),
        (claim("Float", "0", -6), "claims -24 bytes"),
        (claim("Float", "0", 2**31 - 1), "claims 8589934588 bytes"),
        (claim("Float", "9", 6), "'9' is of an unknown form, or not in the file"),
        (claim("QInt8", "0", 24), "unknown form"),
        # the persistent id comes by other ways than a tuple of five values
        (b"X\x01\x00\x00\x00aQ", "unknown form"),
        (b"NQ", "unknown form"),
        (b"(" + claim("Float", "0", 6)[1:-2] + b"0J\x07\x00\x00\x00tQ", "unknown form"),
    ],
)
def test_claims_that_do_not_match_are_refused(bad, said):
    for before in (b"", claim(*HONEST[1])):
        with pytest.raises(BadInput, match=said):
            check_claims(b"\x80\x02" + before + bad + b".", HELD, "m.pt")


def test_a_claim_behind_the_memo_is_seen():
    honest, lying = claim("Float", "0", 6)[:-1], claim("Float", "0", 7)[:-1]
    stored = lying + b"q\x01" + honest + b"q\x02"
    check_claims(b"\x80\x02" + stored + b"h\x02Q.", HELD, "m.pt")
    with pytest.raises(BadInput, match="claims 28 bytes"):
        check_claims(b"\x80\x02" + stored + b"h\x01Q.", HELD, "m.pt")


def test_protocol_2_pickles_without_storages_claim_nothing():
    check_claims(pickle.dumps({"a": (1, [2.5, None], "b")}, 2), {}, "m.pt")
