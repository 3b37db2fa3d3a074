"""Write an untrained two-layer byte LM: python -m examples.byte_lm.untrained FILE"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from examples.byte_lm.model import BYTE_LM, random_checkpoint

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="checkpoint to write")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    config = replace(BYTE_LM, num_hidden_layers=chosen.layers)
    torch.save(random_checkpoint(config, chosen.seed), chosen.file)
