"""Where the time of a training step goes: `python benchmarks/profile.py [batch_size=32] [vocab_size=8192] [threads=N] [key=value …]`.

Takes the overrides of `transformer-zoo train` (model, objective, data.sequence_length …; data are made up), runs a few steps under torch.profiler
and prints what families of operations took, in milliseconds of a step: matrix products, attention, dropout, normalisation, activation, loss,
optimiser, copies, embeddings, other elementwise work, and what is left. With `device=cuda` the times are those of the kernels.

    python benchmarks/profile.py model=bert model/size=mini objective=mlm
    python benchmarks/profile.py model=gpt2 model/size=small vocab_size=50257 batch_size=8
"""

import sys
from pathlib import Path

# Python looks into this folder first, where this file would be taken for the standard library's module of the same name.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).parent.resolve()]


def main(words: list[str]) -> None:
    import torch

    from transformer_zoo.benchmark.profiling import breakdown, table
    from transformer_zoo.experiments.compose import experiment

    given = {"batch_size": "32", "vocab_size": "8192", "threads": str(torch.get_num_threads()), "device": "cpu", "steps": "3"}
    own = {key: value for key, _, value in (word.partition("=") for word in words) if key in given}
    told = given | own
    torch.set_num_threads(int(told["threads"]))
    config = experiment([word for word in words if word.partition("=")[0] not in given])
    found = breakdown(config, batch_size=int(told["batch_size"]), vocab_size=int(told["vocab_size"]), steps=int(told["steps"]), device=told["device"])
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
