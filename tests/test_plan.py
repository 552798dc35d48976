"""What a plan says: sums against arithmetic by hand, a model's size against the model itself."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hooke import tiny
from hooke.errors import BadConfig, Missing, UnknownName
from hooke.model import Model
from hooke.model.size import ModelSize
from hooke.names import Site
from hooke.plan import Machines, Rates, Workload, outlook

LOW, HIGH = Site(0, "resid_post"), Site(1, "resid_post")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("plan") / "tiny"
    where.mkdir()
    tiny.save(where)
    return where


@pytest.fixture(scope="module")
def size(folder) -> ModelSize:
    return ModelSize.read(str(folder))


def test_a_models_size_is_told_without_its_weights(size, folder):
    model = Model.load(folder)
    assert size.blocks == tuple(sum(weight.numel() for weight in block.parameters()) for block in model.blocks)
    assert size.embedding == model.hf.get_input_embeddings().weight.numel()
    assert (size.width(LOW), size.depth([LOW]), size.depth([LOW, HIGH]), size.depth([Site(1, "resid_pre")])) == (32, 1, 2, 1)
    assert ModelSize.read(str(folder / "config.json")).blocks == size.blocks


def test_operations_are_those_that_torch_counts(size, folder):
    """Of matrix products; what attention looks back over is not counted on a CPU."""
    model, ids = Model.load(folder), torch.full((1, 100), 9)
    for site in (LOW, HIGH):
        with FlopCounterMode(display=False) as counter:
            model.capture(ids, [site])
        assert size.operations([site], 0) * 100 == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert size.operations([HIGH], 100) - size.operations([HIGH], 0) == 2 * 2 * 16 * 100  # two blocks, two heads of eight


def test_a_harvest_ends_with_the_slower_of_reading_and_writing(size):
    job, rates = Workload([LOW, HIGH], 3600_000), Rates(100.0)
    row = 13 + 2 * 2 * 32
    one = outlook(size, job, Machines(), rates)
    assert (one.hours["reading"], one.total_hours, one.bottleneck, one.disk) == (10.0, 10.0, "reading", job.tokens * row)
    four = outlook(size, job, Machines(2, 2, price=3.0), rates)
    assert (four.total_hours, four.money) == (2.5, 2.5 * 2 * 3)
    slow = outlook(size, job, Machines(2, 2, network=row * 8 * 20 / 1e9), rates)  # twenty rows a second
    assert slow.hours["writing through one machine"] == pytest.approx(50.0)
    assert (slow.bottleneck, slow.network) == ("writing through one machine", pytest.approx(row * 8 * 20 / 1e9))


def test_saes_are_dealt_out_and_every_device_reads_for_its_own(size):
    job, rates = Workload([LOW, HIGH], 3600_000, (64, 128)), Rates(1000.0, {64: 200.0, 128: 100.0})
    assert outlook(size, job, Machines(), rates).hours == pytest.approx({"reading": 1.0, "training": 2 * (5 + 10)})
    assert outlook(size, job, Machines(1, 2), rates).hours == pytest.approx({"reading": 1.0, "training": 15})
    assert outlook(size, job, Machines(4, 1), rates).hours == outlook(size, job, Machines(100, 1), rates).hours
    two, four = (outlook(size, job, Machines(1, devices), rates) for devices in (2, 4))
    assert two.disk == pytest.approx(four.disk, rel=0.35)
    assert two.memory > four.memory


def test_an_sae_spread_over_devices_takes_a_part_of_each(size):
    job, rates = Workload([LOW], 3600_000, (1024,)), Rates(1000.0, {1024: 200.0})
    one, four = (outlook(size, job, Machines(1, 4, nproc=count), rates) for count in (1, 4))
    assert (one.hours["training"], four.hours["training"]) == (5.0, 1.25)
    assert four.memory < one.memory
    assert four.disk == pytest.approx(one.disk, rel=0.05)
    with pytest.raises(BadConfig, match="cannot be spread over 5 devices; there are 4"):
        Machines(1, 4, nproc=5)


def test_a_model_spread_over_devices_takes_a_part_of_each(size):
    one, four = (outlook(size, Workload([HIGH], 10_000), Machines(1, 4, nproc=count), Rates(1.0)) for count in (1, 4))
    assert four.memory == pytest.approx(one.memory / 4, abs=1)
    assert four.hours == one.hours


def test_what_does_not_fit_is_told(size):
    job = Workload([LOW], 10_000, (64,))
    assert (
        "an SAE can be spread over several devices (--nproc)"
        in outlook(size, job, Machines(memory=0.001), Rates(1.0, {64: 1.0})).problems[0]
    )
    assert outlook(size, job, Machines(memory=10), Rates(1.0, {64: 1.0})).problems == ()


def test_rates_of_a_device_are_its_operations(size):
    job = Workload([HIGH], 10, (64,), context=128)
    rates = Rates.of_device(2.0, 1e12, size, job)
    assert rates.forward == pytest.approx(2e12 / size.operations([HIGH], 128))
    assert rates.train == pytest.approx({64: 2e12 * 0.5 / (2 * 32 * 64)})
    slow = Rates.of_device(1e9, 1.0, size, job)  # all the time goes into memory: 1 GB a second
    assert slow.train == pytest.approx({64: 1e9 / (28 * 2 * 32 * 64 / 1024 + 12 * 50 * 32)})


def test_the_command(command, folder):
    asked = ("plan", "--model", str(folder), "--site", "resid_post.1", "--tokens", "36M")
    code, out, _ = command(*asked, "--forward-rate", "1000", "--devices", "10", "--price", "2", "--network", "1")
    assert (code, "1.0 h" in out or "60 min" in out) == (0, True)
    code, out, _ = command(*asked, "--forward-rate", "1000", "--d-sae", "64", "--train-rate", "500", "--json")
    told = json.loads(out)
    assert (code, told["hours"]) == (0, {"reading": 10.0, "training": 20.0})
    code, out, _ = command(*asked, "--d-sae", "64", "--json")  # measured here
    assert (code, json.loads(out)["rates"]["forward"] > 0) == (0, True)


def test_what_cannot_be(command, folder):
    with pytest.raises(UnknownName, match="unknown model 'nowhere'"):
        ModelSize.read("nowhere")
    with pytest.raises(Missing, match="no configuration of"):
        ModelSize.read(str(folder / "none/config.json"))
    with pytest.raises(BadConfig, match="machines, devices, memory and network must be positive"):
        Machines(network=0)
    asked = ("plan", "--model", str(folder), "--tokens", "5")
    for more, said in (
        (("--site", "resid_post.7"), "unknown layer of"),
        (("--site", "resid_post.1", "--d-sae", "64", "--train-rate", "1", "--train-rate", "2"), "one for each: there are 2 and 1"),
    ):
        code, _, err = command(*asked, *more)
        assert (code != 0, said in err) == (True, True)
