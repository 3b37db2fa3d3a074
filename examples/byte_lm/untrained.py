"""Write an untrained byte LM, for first steps: python -m examples.byte_lm.untrained model.pt

It has the trained model's widths and random weights: it babbles, but it compiles, runs and
costs what a trained model of its shape would.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from examples.byte_lm.model import BYTE_LM, random_checkpoint

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="the checkpoint to write")
    parser.add_argument("--layers", type=int, default=2, help="number of layers (2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (0)")
    chosen = parser.parse_args()
    config = replace(BYTE_LM, num_hidden_layers=chosen.layers)
    torch.save(random_checkpoint(config, chosen.seed), chosen.path)
