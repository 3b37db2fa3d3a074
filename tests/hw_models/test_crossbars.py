"""Constants of the crossbar targets against literals from their sources."""

import numpy as np
import pytest

from hw_models.chip import load_chip
from hw_models.events import KINDS
from hw_models.ledger import ledger, static_of

ISAAC, HERMES = load_chip("isaac-like"), load_chip("hermes-like")
DIGITAL = {"synop_add", "synop_shift", "synop_mac", "weight_fetch"}


def joules(chip, **counts):
    """What some events cost on a chip: low, nominal, high."""
    found = ledger({("linear", kind): n for kind, n in counts.items()}, chip.costs)
    assert not found.unpriced
    return found.total()


@pytest.mark.parametrize("chip", [ISAAC, HERMES], ids=lambda chip: chip.name)
def test_every_event_of_a_crossbar_has_a_price_and_no_synop_has(chip):
    covered = {kind for cost in chip.costs for kind in cost.covers}
    assert covered == set(KINDS) - DIGITAL


def test_isaac_events_are_its_powers_over_its_rates():
    """Table I: 16 mW for 8 converters at 1.2 GS/s; 4 mW for 8 x 128 rows; 2.4 mW for 8 arrays."""
    assert joules(ISAAC, adc_convert=1).nominal == pytest.approx(16e-3 / (8 * 1.2e9), rel=1e-3)
    assert joules(ISAAC, adc_convert=1).nominal == pytest.approx(1.667e-12, rel=1e-3)
    assert joules(ISAAC, adc_convert=1).low == pytest.approx(16e-3 / (8 * 1.28e9), rel=1e-3)
    assert joules(ISAAC, adc_convert=1).high == pytest.approx(3.1e-3 / 1.2e9, rel=1e-3)
    rows = 4e-3 / (8 * 128 * 12e6 * 100 / 128)  # of 128 cycles at 1.2 GHz the converters allow 100
    assert joules(ISAAC, row_drive=1).nominal == pytest.approx(rows, rel=1e-4)
    assert joules(ISAAC, array_read=1).nominal == pytest.approx(2.4e-3 / 8 * 100e-9, rel=1e-9)
    assert joules(ISAAC, shift_add=1).nominal == pytest.approx(0.2e-3 / (8 * 1.2e9), rel=0.02)


def test_isaac_converters_are_near_the_survey_of_converters():
    """Accelergy's fit to Murmann's survey at 32 nm and 8 bit: 1.714 pJ."""
    assert joules(ISAAC, adc_convert=1).nominal == pytest.approx(1.714e-12, rel=0.03)


def test_an_isaac_array_at_work_takes_its_share_of_the_chips_power():
    """One step of all 128 rows and columns: an IMA of 8 such arrays takes some 24 mW in Table I
    (converters 16, rows 4, arrays 2.4, shift-and-add 0.2, registers 1.5)."""
    step = joules(ISAAC, row_drive=128, array_read=1, adc_convert=128, shift_add=128).nominal
    assert 8 * step / 100e-9 == pytest.approx(24.1e-3, rel=0.1)


def test_isaac_structure():
    layout, array = ISAAC.layout, ISAAC.array
    assert layout.routers[0] * layout.routers[1] * layout.cores_per_router == 168
    assert (array.rows, array.columns, array.per_core) == (128, 128, 12 * 8)
    assert array.columns_per_adc * array.convert_ps == pytest.approx(array.step_ps, rel=1e-3)
    assert 1e12 / array.convert_ps == pytest.approx(1.28e9, rel=1e-3)
    # 65.8 W of the chip less 168 tiles of 330 mW
    assert ISAAC.static_power.nominal == pytest.approx(65.8 - 168 * 0.330, abs=0.05)


def test_isaac_loses_nothing_with_eight_bits():
    """128 rows at level 3, one bit each: 384; stored upside down where more than half: 192."""
    array = ISAAC.array
    assert array.encoding == "offset"
    most = array.rows_at_once * array.top * (2**array.dac_bits - 1)
    assert most // 2 == 192 <= (2**array.adc_bits - 1) * array.adc_step < most


def test_hermes_mvm_in_four_phases():
    """Le Gallo 2023: 2.48 TOPS/W, two operations a MAC: 0.806 pJ/MAC, 52.8 nJ per 256 x 256."""
    columns, phases = 256, 4
    mvm = joules(HERMES, adc_convert=columns * phases, row_drive=2 * 256, array_read=2, shift_add=1)
    assert mvm.nominal == pytest.approx(52.8e-9, rel=2e-3)
    assert mvm.nominal / 256**2 == pytest.approx(0.806e-12, rel=2e-3)
    assert mvm.nominal / 256**2 == pytest.approx(2 / 2.48e12, rel=2e-3)
    # and one phase: 9.76 TOPS/W with a quarter of the conversions, at the high end
    one = joules(HERMES, adc_convert=columns).high
    assert one / 256**2 == pytest.approx(2 / 9.76e12, rel=2e-3)


def test_hermes_time_of_an_mvm():
    """16.1 TOPS of 64 cores in four phases: two signs of the inputs, two lines a column."""
    seconds = 2 * HERMES.array.step_ps * 1e-12
    assert 64 * 2 * 256**2 / seconds == pytest.approx(16.1e12, rel=5e-3)


def test_hermes_converters_reach_over_the_largest_sum():
    array = HERMES.array
    assert (array.rows, array.columns // 2, array.per_core) == (256, 256, 1)
    most = 128 * (2**4 - 1) * (2**7 - 1)
    assert (2**array.adc_bits - 1) * array.adc_step == pytest.approx(most, rel=0.01)
    assert (2**array.adc_bits - 1) * array.adc_step >= most


def test_hermes_noise_is_the_fit_to_its_devices():
    """aihwkit, HermesNoiseModel, two devices: microsiemens by level, of 20.7 at the top."""
    level = np.linspace(0, 1, 10_001)
    sigma = np.polynomial.polynomial.polyval(
        level, [0.16603222, 4.71806468, -8.48101252, 4.68961419]
    )
    assert HERMES.array.noise == pytest.approx(sigma.mean() / 20.7, abs=5e-4)
    assert sigma[level > 0.25].min() / 20.7 > 0.042 > 5 * sigma[0] / 20.7


def test_hermes_static_power_is_within_what_the_chip_takes():
    whole = 63.1 / 9.76
    power = HERMES.static_power
    assert (power.low, power.nominal, power.high) == pytest.approx(
        (0, whole / 10, whole / 2), rel=0.02
    )
    assert static_of(HERMES, 2, 1.0).grade == "assumed"
