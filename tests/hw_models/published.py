"""Figures as their sources print them; tests do the arithmetic, no chip file is read here."""

# SENECA, Tang et al., Front. Neurosci. 17, 2023, Table 8: pJ per instruction
ADD = MULTIPLY = 1.4
TWO_INT8, COMPARE, SHIFT = 1.2, 1.2, 1.2
LOAD, STORE = 3.7, 3.9  # 16 bits
CAPTURE, EVENT = 0.5, 1.1
CONTROLLER, CONTROLLER_MEMORY = 11.6, 10.0
NETWORK = 2.0  # 32-bit event
SENECA_SYNOP = 2.8  # abstract

# Intel newsroom, Hala Point, 17 April 2024
HALA_CHIPS, HALA_CORES = 1152, 140_544
HALA_W, HALA_SYNOPS_PER_S, HALA_NEURON_OPS_PER_S = 2600.0, 380e12, 240e12
HALA_CORE_BYTES_PER_S, HALA_CHIP_BYTES_PER_S = 3.5e15, 5e12

# Abreu et al., arXiv:2503.18002, Tables 1 to 3: 370 M parameters on 24 of 32 chips
ABREU_CHIPS, ABREU_BOARD, ABREU_WEIGHTS = 24, 32, 370e6
DECODE_J, DECODE_PER_S = 0.405, 41.5
PREFILL_J, PREFILL_PER_S = 3.7e-3, 6632

# pJ per bit between chips
NVLINK_C2C, PCIE_GEN5_OVER_C2C = 1.3, 5  # NVIDIA
TRUENORTH_TO_EDGE, TRUENORTH_TO_NEXT = 2.0, 26.0  # Merolla et al. 2014, supplement S5
