"""Measures attention at length: `python benchmarks/long_attention.py [rounds=N] [lengths=512,1024,…]`.

One attention layer (width 256, 4 heads, one sequence) with full attention, a window, Longformer and BigBird, forward and backward. Times are
medians of interleaved rounds: every round runs every attention once, so that whatever else the machine does hits all alike. Peak memory is that of
a fresh process: how much its largest resident size grows (`ru_maxrss`) over the one after a first, tiny forward and backward. Writes
`benchmarks/results/long_attention.json` and `docs/figures/long_attention.svg`, and prints the table.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.experiments.results import machine_words
from transformer_zoo.experiments.svg import Series, figure, line_chart
from transformer_zoo.layers.attention.base import Attention, AttentionConfig
from transformer_zoo.layers.attention.bigbird import BigBirdConfig, BigBirdMask
from transformer_zoo.layers.attention.kernels import SDPAConfig
from transformer_zoo.layers.attention.longformer import LongformerConfig
from transformer_zoo.layers.attention.multihead import MultiheadConfig
from transformer_zoo.layers.lowering import MaskLowering
from transformer_zoo.layers.masks import MaskOperands
from transformer_zoo.layers.norms import NoNormConfig
from transformer_zoo.layers.positions import Site
from transformer_zoo.models.encoder import EncoderConfig
from transformer_zoo.records import SequenceInputs

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "long_attention.json"
FIGURE = ROOT / "docs" / "figures" / "long_attention.svg"
WIDTH, HEADS, THREADS = 256, 4, 2
LENGTHS = (512, 1024, 2048, 4096, 8192)
MODEL_LENGTH = 4096
