"""A .nir file that is damaged or hostile is an error about the input: no crash, no code, no claim
of memory that the file does not hold."""

import resource
import struct

import h5py
import numpy as np
import pytest

from compiler.frontends import hdf5
from compiler.frontends.read import read_model
from hw_models.errors import BadInput, SpikeloomError, Unsupported
from tests.spiking import affine, cubalif, lif, written

WEIGHT = "node/nodes/affine/weight"


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "net.nir", affine(9, 7), lif(7), affine(7, 5, 1), cubalif(5))


def everything(path):
    """Read the graph and every tensor, as the compiler does."""
    graph, tensors = read_model(path)
    return graph, {name: tensors[name] for name in tensors}


def replaced(path, name, value, **options):
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, data=value, **options)


def refused(path, said):
    with pytest.raises(BadInput, match=said) as caught:
        everything(path)
    return caught.value


def test_the_file_as_it_is_can_be_read(path):
    graph, tensors = everything(path)
    assert len(graph.stages) == 3 and tensors["affine.weight"].shape == (7, 9)


def test_a_truncated_file_at_any_length(path):
    raw = path.read_bytes()
    for length in np.linspace(1, len(raw) - 1, 40).astype(int).tolist():
        path.write_bytes(raw[:length])
        with pytest.raises((BadInput, Unsupported)):
            everything(path)


def test_altered_bytes_are_errors_of_ours_or_harmless(path):
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(50):
        damaged = bytearray(raw)
        for at in rng.integers(8, len(raw), rng.integers(1, 5)):
            damaged[at] = rng.choice([0, 1, 127, 255, damaged[at] ^ 1, damaged[at] ^ 128])
        path.write_bytes(damaged)
        try:
            everything(path)
            outcomes.add("read")
        except SpikeloomError as error:
            outcomes.add(error.exit_code)
    assert outcomes <= {"read", 3, 4} and {"read", 3} <= outcomes


def test_only_the_magic(tmp_path):
    path = tmp_path / "net.nir"
    path.write_bytes(hdf5.MAGIC)
    assert refused(path, "cannot be read|truncated").where == str(path)


def test_recognised_by_content_whatever_the_name(path):
    other = path.rename(path.with_name("model.safetensors"))
    assert everything(other)[0].model == "model"


def test_an_hdf5_file_of_something_else(tmp_path):
    path = tmp_path / "net.net"
    with h5py.File(path, "w") as file:
        file["layer/0/type"] = "dense"
    assert "nir.write" in refused(path, "not a NIR graph").fix


@pytest.mark.parametrize("version", ["2.0.0", "0.0.5", "next", ""])
def test_a_version_that_is_not_known(path, version):
    replaced(path, "version", version)
    assert "nir 1.0" in refused(path, "NIR version").fix


@pytest.mark.parametrize("version", ["0.1.0", "0.2.1", "1.0.4", "1.7.0"])
def test_versions_of_the_same_layout(path, version):
    replaced(path, "version", version)
    assert len(everything(path)[0].stages) == 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (WEIGHT, np.zeros((7, 8)), "8 inputs, but it is fed"),
        (WEIGHT, np.zeros(63), "weight of shape"),
        (WEIGHT, np.zeros((7, 9, 1)), "weight of shape"),
        (WEIGHT, np.zeros((0, 9)), "bias of shape"),
        (WEIGHT, np.full((7, 9), "x", "S1"), "no numbers"),
        (WEIGHT, np.zeros((7, 9), np.complex64), "no numbers"),
        ("node/nodes/affine/bias", np.zeros(6), "bias of shape"),
        ("node/nodes/lif/tau", np.zeros(6), "tau of shape"),
        ("node/nodes/lif/tau", np.zeros(7), "tau is 0"),
        ("node/nodes/lif/r", np.full(7, np.nan), "NaN"),
        ("node/nodes/lif/type", b"a lot more than a type" * 20, "type"),
        ("node/nodes/lif/type", 5, "no text"),
        ("node/nodes/lif/type", ["LIF", "LIF"], "single string"),
        ("node/nodes/input/shape", np.array([-4]), "shape"),
        ("node/nodes/input/shape", np.array([0]), "shape"),
        ("node/nodes/input/shape", np.array([2.5]), "shape"),
        ("node/nodes/input/shape", np.array([np.nan]), "shape"),
        ("node/nodes/input/shape", np.array([2**62, 2**62]), "shape"),
        ("node/nodes/input/shape", np.zeros(0), "no shape"),
        ("node/nodes/output/shape", np.array([4]), "shape"),
        ("node/edges", ["input", "affine"], "edges of shape"),
        ("node/edges", [["input", "nowhere"]], "nowhere, which is not there"),
        ("node/edges", np.zeros((2, 2)), "no text"),
        ("node/type", "Graph", "instead of a NIRGraph"),
    ],
)
def test_values_of_a_wrong_form(path, name, value, said):
    replaced(path, name, value)
    with pytest.raises((BadInput, Unsupported), match=said):
        everything(path)


@pytest.mark.parametrize("name", ["node/type", "node/edges", "node/nodes", WEIGHT, "version"])
def test_entries_that_are_missing(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    refused(path, "no |not a NIR graph|weight of shape")


@pytest.mark.parametrize("name", ["node/type", WEIGHT, "node/nodes/lif"])
def test_a_group_for_a_value_and_a_value_for_a_group(path, name):
    with h5py.File(path, "r+") as file:
        was_group = isinstance(file[name], h5py.Group)
        del file[name]
        if was_group:
            file[name] = 1
        else:
            file.create_group(name)
    refused(path, "instead of a")


# ---- claims ----------------------------------------------------------------------------------


def test_an_array_that_claims_more_than_the_file_holds(path):
    """An HDF5 array that was never written takes no space; here all shapes fit together."""
    replaced(path, "node/nodes/input/shape", np.array([60_000]))
    replaced(path, "node/nodes/affine/bias", np.zeros(1))
    for key in ("r", "tau", "v_leak", "v_reset", "v_threshold"):
        replaced(path, f"node/nodes/lif/{key}", np.full(1, 1e-3))
    replaced(path, "node/nodes/affine_1/weight", np.zeros((5, 1000)))
    with h5py.File(path, "r+") as file:
        del file[WEIGHT]
        file.create_dataset(WEIGHT, (1000, 60_000), "f8", chunks=(64, 64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "claims 480000000 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_chunk_that_claims_more_than_the_file_holds(path):
    """The library makes room for a whole chunk before it inflates one."""
    replaced(path, WEIGHT, np.ones((7, 9)), chunks=(61, 67), maxshape=(None, None))
    raw, chunk = path.read_bytes(), struct.pack("<III", 61, 67, 8)
    assert raw.count(chunk) == 1
    path.write_bytes(raw.replace(chunk, struct.pack("<III", 1 << 14, 1 << 14, 8)))
    refused(path, "claims 2147483648 bytes")


def test_an_array_never_written(path):
    with h5py.File(path, "r+") as file:
        del file["node/nodes/lif/tau"]
        file.create_dataset("node/nodes/lif/tau", (7,), "f8")
    refused(path, "holds none")


def test_a_string_that_claims_four_gigabytes(path):
    """The library would take the memory before it looks for the string."""
    with h5py.File(path) as file:
        at = file["node/nodes/lif/type"].id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "a string of 4294967295 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_compressed_array_of_zeros_is_an_honest_claim(path):
    replaced(path, WEIGHT, np.zeros((7, 9)), compression="gzip", chunks=(7, 9), shuffle=True)
    assert not everything(path)[1]["affine.weight"].any()


# ---- the way out of the file -----------------------------------------------------------------


def test_a_link_into_another_file(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["tau"] = np.ones(7)
    for link in (h5py.ExternalLink("secret.h5", "tau"), h5py.SoftLink("/node/nodes/lif/r")):
        with h5py.File(path, "r+") as file:
            del file["node/nodes/lif/tau"]
            file["node/nodes/lif/tau"] = link
        refused(path, "a link")


def test_data_in_another_file(path, tmp_path):
    (tmp_path / "secret.raw").write_bytes(np.ones(7).tobytes())
    with h5py.File(path, "r+") as file:
        del file["node/nodes/lif/tau"]
        external = [(str(tmp_path / "secret.raw"), 0, 56)]
        file.create_dataset("node/nodes/lif/tau", (7,), "f8", external=external)
    refused(path, "data in another file")


def test_data_put_together_from_other_files(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["tau"] = np.ones(7)
    layout = h5py.VirtualLayout((7,), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "tau", shape=(7,))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/lif/tau"]
        file.create_virtual_dataset("node/nodes/lif/tau", layout)
    refused(path, "data in another file")


def test_a_filter_that_would_be_loaded_from_a_plugin(path):
    """Its number in place of the shuffle's; HDF5 would search its plugin path for it."""
    name = "node/nodes/lif/tau"
    replaced(path, name, np.ones(7) * 1e-3, chunks=(7,), shuffle=True)
    raw = path.read_bytes()
    shuffle, blosc = (code.to_bytes(2, "little") for code in (2, 32001))
    spots = [i for i in range(len(raw)) if raw.startswith(b"shuffle\0", i)]
    assert spots
    for spot in spots:  # the filter's number stands a few bytes before its name
        at = raw.rindex(shuffle, 0, spot)
        raw = raw[:at] + blosc + raw[at + 2 :]
    path.write_bytes(raw)
    with h5py.File(path) as file:
        assert file[name].id.get_create_plist().get_filter(0)[0] == 32001
    refused(path, "filter 32001")
