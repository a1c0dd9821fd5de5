"""A pack: trials in threads of one process, whose training steps go through their common base in one pass."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.lora.joined_rows import JoinedRows
from harness.lora.packed import JoinedBase, share_frozen
from harness.training.accounting import is_out_of_memory
from harness.training.fabric import quiet
from harness.training.module import Batch
from harness.training.packing.cooperative import CooperativeThread, CooperativeThreads
from harness.training.packing.joint import JointPass, device_generator, tokens_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackKey:
    """The properties that members of a pack must share to share a pass. `base` describes the whole base."""

    base: str
    precision: str
    device: torch.device
    draws: bool


@dataclass(eq=False)
class PackMember:
    """A trial of a pack, while it trains. Its next pass is its own where `alone` is set."""

    pack: "Pack"
    network: Any
    key: PackKey
    padding: Mapping[str, int]
    thread: CooperativeThread
    alone: bool = False
    batch: Batch = field(default_factory=dict)
    random_state: Tensor = field(default_factory=lambda: torch.empty(0))
    random_state_after: Tensor = field(default_factory=lambda: torch.empty(0))
    features: Tensor | None = None
    error: BaseException | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Return the head's input for a batch (B, F), once every trial of the pack waits for its own."""
        generator = device_generator(self.key.device)
        self.batch, self.random_state = batch, generator.get_state()
        self.pack.wait_forward(self)
        generator.set_state(self.random_state_after)
        assert self.features is not None
        return self.features

    def backward(self) -> None:
        """Give the updates their gradients, once every trial of the pass has those of its features."""
        self.pack.wait_backward(self)
        self.features = None

    def close(self) -> None:
        """Leave the pack."""
        self.pack.leave(self)


class Pack:
    """Runs functions that train trials, one at a time; members share the passes of their steps.

    A pass that runs out of memory is made with half as many trials, and so are all that follow. One that fails
    otherwise is made again trial by trial, so that only those fail that do so by themselves.
    """

    def __init__(self) -> None:
        self.threads = CooperativeThreads(self._proceed)
        self.most: int | None = None
        self._bases: dict[PackKey, JoinedBase] = {}
        self._members: list[PackMember] = []
        self._at_forward: list[PackMember] = []
        self._at_backward: list[PackMember] = []
        self._in_pass: list[PackMember] = []
        self._pass: JointPass | None = None

    def run(self, functions: Sequence[Callable[[], None]], failed: Callable[[], None] = lambda: None) -> None:
        """Run functions that train trials one after another; `failed` is called as soon as one raises."""
        with quiet():
            self.threads.run(functions, failed)

    def pause(self, seconds: float) -> None:
        """Let the others go on for so long at least."""
        self.threads.pause(seconds)

    def join(self, network: Any, key: PackKey, padding: Mapping[str, int]) -> PackMember | str:
        """Make a network a member, whose frozen weights become those of the others; or say why it cannot be one.

        A thread's former member leaves.
        """
        thread = self.threads.current()
        for former in [each for each in self._members if each.thread is thread]:
            self.leave(former)
        if key in self._bases:
            if reason := share_frozen(network, self._bases[key].frozen):
                return reason
        else:
            self._bases[key] = JoinedBase(network, JoinedRows(device_generator(key.device)))
        member = PackMember(self, network, key, padding, thread)
        self._members.append(member)
        return member

    def leave(self, member: PackMember) -> None:
        """Make a member leave; the base goes with its last member."""
        if member not in self._members:
            return
        self._members.remove(member)
        if any(other.key == member.key for other in self._members):
            self._bases[member.key].set_members(())
        else:
            del self._bases[member.key]

    def wait_forward(self, member: PackMember) -> None:
        """Wait until the base has run over the member's batch. Raises what stopped it."""
        self._at_forward.append(member)
        self._wait(member)

    def wait_backward(self, member: PackMember) -> None:
        """Wait until the member's updates have their gradients. Raises what stopped it."""
        self._at_backward.append(member)
        self._wait(member)

    def _wait(self, member: PackMember) -> None:
        self.threads.wait()
        error, member.error = member.error, None
        if error is not None:
            raise error

    def _proceed(self) -> None:
        """Every trial waits, but those that pause."""
        if self._pass is not None:
            self._finish_pass()
        else:
            self._begin_pass(self._next_group())

    def _next_group(self) -> list[PackMember]:
        """The trials whose batches can be joined with that of the one that has waited longest."""
        first = self._at_forward[0]
        if first.alone:
            return [first]
        group = [member for member in self._at_forward if _go_together(member, first)]
        return group[: self.most]

    def _begin_pass(self, group: Sequence[PackMember]) -> None:
        error = self._attempt(lambda: self._forward(group))
        if error is not None and len(group) > 1:
            alone = self._smaller_size(error, len(group)) == 1
            for member in group:
                member.alone = alone
            return
        for member in group:
            member.alone = False
            self._at_forward.remove(member)
            self._resume(member, error)
        self._in_pass = list(group) if error is None else []

    def _forward(self, group: Sequence[PackMember]) -> None:
        first = group[0]
        networks, key = [member.network for member in group], first.key
        made = JointPass(self._bases[key], networks, key.precision, key.draws)
        after = made.forward(
            [member.batch for member in group], [member.random_state for member in group], first.padding
        )
        for member, features, end in zip(group, made.features, after, strict=True):
            member.features, member.random_state_after = features, end
        self._pass = made

    def _finish_pass(self) -> None:
        """The way back of the pass whose trials wait for it; one that does not has ended meanwhile."""
        group, waiting = self._in_pass, self._at_backward
        self._in_pass, self._at_backward = [], []
        features = [member.features if member in waiting else None for member in group]
        gradients = [None if part is None else part.grad for part in features]
        error = self._attempt(lambda: self._backward(gradients)) if waiting else None
        self._pass = None
        if error is not None and len(group) > 1:
            self._retry_in_parts(group, waiting, gradients, self._smaller_size(error, len(group)))
        else:
            for member in waiting:
                self._resume(member, error)

    def _backward(self, gradients: Sequence[Tensor | None]) -> None:
        assert self._pass is not None
        self._pass.backward(gradients)

    def _retry_in_parts(
        self, group: Sequence[PackMember], waiting: Sequence[PackMember], gradients: Sequence[Tensor | None], size: int
    ) -> None:
        """The whole pass again in smaller ones, each from the random states that it was begun with."""
        for start in range(0, len(group), size):
            part = slice(start, start + size)

            def again(part: slice = part) -> None:
                self._forward(group[part])
                self._backward(gradients[part])

            error, tried = self._attempt(again), len(group[part])
            self._pass = None
            if error is not None and tried > 1:
                self._retry_in_parts(group[part], waiting, gradients[part], self._smaller_size(error, tried))
                continue
            for member in group[part]:
                if member in waiting:
                    self._resume(member, error)

    def _resume(self, member: PackMember, error: BaseException | None) -> None:
        member.error = error
        self.threads.release(member.thread)

    def _attempt(self, work: Callable[[], None]) -> BaseException | None:
        try:
            work()
        except Exception as error:  # each trial of the pass raises it in its own thread
            if is_out_of_memory(error):
                error.__traceback__ = None  # whose frames hold the tensors of the pass
            return error
        return None

    def _smaller_size(self, error: BaseException, tried: int) -> int:
        """With how many trials a pass is made again that failed with more than one."""
        self._pass = None
        if not is_out_of_memory(error):
            log.warning("a pass of %d trials failed, and is made again one by one: %r", tried, error)
            return 1
        self.most = tried // 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        log.warning("%d trials in one pass ran out of memory: from now on at most %d", tried, self.most)
        return self.most


def _go_together(one: PackMember, other: PackMember) -> bool:
    """Return whether two trials' batches can be joined: token ids of any length, other inputs of the same shape."""
    if one.key != other.key or one.alone or other.alone:
        return False
    mine, theirs = one.batch, other.batch
    if tokens_of(mine) and tokens_of(theirs):
        return mine.keys() == theirs.keys()
    return _shapes(mine) == _shapes(theirs)


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {name: each.shape[1:] for name, each in batch.items()}
