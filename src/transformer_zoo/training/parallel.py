"""Several processes: who they are, how they agree, and how the scored module is wrapped (DDP or FSDP2).

Started by `torchrun --nproc_per_node=N -m transformer_zoo train …`, which sets RANK, WORLD_SIZE and LOCAL_RANK. Small facts (counts,
flags, the clock) travel as float64 on the CPU through gloo, so that agreeing on them never waits for an accelerator. Gradients are
**summed**: each process scales its loss by the number of processes, and the engines' averaging takes that away again.
"""

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transformer_zoo.errors import ConfigError
from transformer_zoo.records import Example, LossReport
from transformer_zoo.training.compiling import Compilation
from transformer_zoo.training.scored import Scored

logger = logging.getLogger(__name__)

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for the others, for example while one of them prepares the data."""


class World:
    """The processes of one run. A plain start has one; `World.join` makes the group that torchrun describes."""

    def __init__(self, *, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank

    @classmethod
    def from_environment(cls) -> "World":
        """Read what torchrun set, without starting a process group."""
        return cls(rank=int(os.environ.get("RANK", 0)), size=int(os.environ.get("WORLD_SIZE", 1)), local_rank=int(os.environ.get("LOCAL_RANK", 0)))

    def join(self, device: torch.device) -> None:
        """Start the process group where torchrun started this process; otherwise nothing."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if "RANK" in os.environ and dist.is_available() and not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=TIMEOUT)

    def leave(self) -> None:
        """End the process group, if there is one."""
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, values: Sequence[float]) -> Tensor:
        """[size, len(values)] float64: every process's values."""
        own = torch.tensor([list(values)], dtype=torch.float64)
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over processes, as float64 on the CPU: for metric sums and counts."""
        total = values.detach().to("cpu", torch.float64)
        if self.size > 1:
            total = total.clone()
            dist.all_reduce(total)
        return total

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """Every process's value, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.size > 1:
            self.gather([0.0])


def full_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered whole (all processes must ask); any other as it is."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def like_shard(value: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, the same in every process, cut as `target` is, where `target` is sharded."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


class Replica:
    """One process alone, or the base of the ways to be several: how the scored module is called and its gradients brought together."""

    def __init__(self, scored: Scored, world: World) -> None:
        self.scored = scored
        self.world = world
        self.module: nn.Module = scored
        self.compilation = Compilation(compiled=False, reason="nobody asked for it")
        self._eager: nn.Module | None = None

    def __call__(self, example: Example) -> LossReport:
        return self._run(example)

    def compile(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile what is called. Compiling happens at the first call; where it fails, a warning says so, `compilation` says why, and all goes on as
        it was."""
        self._eager = self.module
        self.module = torch.compile(self.module, backend=backend)  # type: ignore[assignment]

    def follow(self, chosen: Compilation) -> None:
        """Do as was decided."""
        self.compilation = chosen
        if chosen.compiled:
            self.compile()

    @property
    def compiled(self) -> bool:
        """Whether what is called is compiled, or is to be at its first call."""
        return self._eager is not None

    def _run(self, example: Example) -> Any:
        if self._eager is None:
            return self.module(example)
        generator = torch.get_rng_state()
        try:
            return self.module(example)
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException

            if not isinstance(error, TorchDynamoException):
                raise
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            logger.warning("training.compile=true does not work here and is left out (%s)", why)
            self.compilation = Compilation(compiled=False, reason=f"the compiler failed ({why})")
            torch.set_rng_state(generator)
            self.module, self._eager = self._eager, None
            return self.module(example)

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Around one micro-batch's forward and backward: gradients are exchanged only in the last one's."""
        return contextlib.nullcontext()

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, the plain model can be called as it stands (for evaluation)."""
        return contextlib.nullcontext()

    @property
    def forwards_together(self) -> bool:
        """Whether every process must run the same number of micro-batches."""
        return False


class DataParallel(Replica):
    """`DistributedDataParallel`: a whole model in every process."""

    def __init__(self, scored: Scored, world: World, device: torch.device) -> None:
        super().__init__(scored, world)
        self._ddp = nn.parallel.DistributedDataParallel(scored, device_ids=[device.index] if device.type == "cuda" else None)
        self.module = self._ddp

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if last else self._ddp.no_sync()


class _Sums(nn.Module):
    """The root that FSDP2 shards. It returns a plain dict, in which every supported version of torch finds the tensors to hook."""

    def __init__(self, scored: Scored) -> None:
        super().__init__()
        self.scored = scored

    def forward(self, example: Example) -> dict[str, Tensor]:
        return self.scored(example).sums


class ShardedParallel(Replica):
    """FSDP2 (`fully_shard`): parameters, gradients and optimiser state are cut over the processes.

    Each block of a stack is a group of its own; everything else (embeddings, vocabulary matrix, heads) stays in the root group, because
    the loss reads the vocabulary matrix after the model's forward.
    """

    def __init__(self, scored: Scored, world: World, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().__init__(scored, world)
        mesh = init_device_mesh(device.type, (world.size,))
        for block in repeated_blocks(scored.model):
            fully_shard(block, mesh=mesh)
        root: Any = _Sums(scored)
        self._root = fully_shard(root, mesh=mesh, reshard_after_forward=False)
        self.module = self._root

    def __call__(self, example: Example) -> LossReport:
        return LossReport(sums=self._run(example))

    @contextlib.contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        self._root.set_requires_gradient_sync(last)
        self._root.set_is_last_backward(last)
        yield

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        self._root.unshard()
        try:
            yield
        finally:
            self._root.reshard()

    @property
    def forwards_together(self) -> bool:
        return True


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The members of the model's module lists that own parameters, outermost lists only: the blocks of its stacks, each once."""
    blocks: list[nn.Module] = []
    seen: set[int] = set()

    def visit(module: nn.Module) -> None:
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                for block in child:
                    if id(block) not in seen and any(True for _ in block.parameters()):
                        seen.add(id(block))
                        blocks.append(block)
            else:
                visit(child)

    visit(model)
    return blocks


def check_parallel(kind: str, world: World) -> str:
    """Which of none, ddp and fsdp is meant: `auto` is ddp under torchrun with several processes."""
    if kind == "auto":
        return "ddp" if world.size > 1 else "none"
    if kind == "none" and world.size > 1:
        raise ConfigError(f"training.parallel=none, but torchrun started {world.size} processes: use training.parallel=ddp or fsdp")
    if kind != "none" and "RANK" not in os.environ:
        raise ConfigError(f"training.parallel={kind} needs several processes: start it by torchrun --nproc_per_node=N -m transformer_zoo train …")
    return kind


def parallelise(kind: str, scored: Scored, world: World, device: torch.device) -> Replica:
    """Wrap the scored module, already on its device, for `kind` (none, ddp or fsdp)."""
    return {
        "none": lambda: Replica(scored, world),
        "ddp": lambda: DataParallel(scored, world, device),
        "fsdp": lambda: ShardedParallel(scored, world, device),
    }[kind]()
