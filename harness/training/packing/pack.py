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
from harness.training.loop import quiet
from harness.training.module import Batch
from harness.training.packing.joint import JointPass, device_generator, tokens_of
from harness.training.packing.turns import Turn, Turns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """What trials have in common that go through one base in one pass. `base` says all that the base is made of."""

    base: str
    precision: str
    device: torch.device
    draws: bool


@dataclass(eq=False)
class Seat:
    """The place of a trial in a pack, while it trains. Its next pass is its own where `by_itself` is set."""

    pack: "Pack"
    network: Any
    kind: Kind
    padding: Mapping[str, int]
    turn: Turn
    by_itself: bool = False
    batch: Batch = field(default_factory=dict)
    start: Tensor = field(default_factory=lambda: torch.empty(0))
    end: Tensor = field(default_factory=lambda: torch.empty(0))
    features: Tensor | None = None
    error: BaseException | None = None

    def forward(self, batch: Batch) -> Tensor:
        """What the head reads of a batch (B, F), once every trial of the pack waits for its own."""
        generator = device_generator(self.kind.device)
        self.batch, self.start = batch, generator.get_state()
        self.pack.ask(self)
        generator.set_state(self.end)
        assert self.features is not None
        return self.features

    def backward(self) -> None:
        """Give the updates their gradients, once every trial of the pass has those of its features."""
        self.pack.answer(self)
        self.features = None

    def close(self) -> None:
        """Leave the pack."""
        self.pack.leave(self)


class Pack:
    """Runs functions that train trials, one at a time; those with a seat share the passes of their steps.

    A pass that runs out of memory is made with half as many trials, and so are all that follow. One that fails
    otherwise is made again trial by trial, so that only those fail that do so by themselves.
    """

    def __init__(self) -> None:
        self.turns = Turns(self._proceed)
        self.most: int | None = None
        self._bases: dict[Kind, JoinedBase] = {}
        self._seats: list[Seat] = []
        self._asking: list[Seat] = []
        self._answering: list[Seat] = []
        self._passing: list[Seat] = []
        self._pass: JointPass | None = None

    def run(self, functions: Sequence[Callable[[], None]], failed: Callable[[], None] = lambda: None) -> None:
        """Run functions that train trials one after another; `failed` is called as soon as one raises."""
        with quiet():
            self.turns.run(functions, failed)

    def pause(self, seconds: float) -> None:
        """Let the others go on for so long at least."""
        self.turns.pause(seconds)

    def seat(self, network: Any, kind: Kind, padding: Mapping[str, int]) -> Seat | str:
        """A place for a network, whose frozen weights become those of the others; or why there is none.

        A function that takes another place has left its last one.
        """
        turn = self.turns.current()
        for former in [each for each in self._seats if each.turn is turn]:
            self.leave(former)
        if kind in self._bases:
            if reason := share_frozen(network, self._bases[kind].frozen):
                return reason
        else:
            self._bases[kind] = JoinedBase(network, JoinedRows(device_generator(kind.device)))
        seat = Seat(self, network, kind, padding, turn)
        self._seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Give up a place; the base goes with the last trial that has one."""
        if seat not in self._seats:
            return
        self._seats.remove(seat)
        if any(other.kind == seat.kind for other in self._seats):
            self._bases[seat.kind].set_members(())
        else:
            del self._bases[seat.kind]

    def ask(self, seat: Seat) -> None:
        self._asking.append(seat)
        self._wait(seat)

    def answer(self, seat: Seat) -> None:
        self._answering.append(seat)
        self._wait(seat)

    def _wait(self, seat: Seat) -> None:
        self.turns.wait()
        error, seat.error = seat.error, None
        if error is not None:
            raise error

    def _proceed(self) -> None:
        """Every trial waits, but those that pause."""
        if self._pass is not None:
            self._finish_pass()
        else:
            self._begin_pass(self._next_group())

    def _next_group(self) -> list[Seat]:
        """Those whose batches go together with that of the one that waits for longest."""
        first = self._asking[0]
        if first.by_itself:
            return [first]
        group = [seat for seat in self._asking if _go_together(seat, first)]
        return group[: self.most]

    def _begin_pass(self, group: Sequence[Seat]) -> None:
        error = self._attempt(lambda: self._forward(group))
        if error is not None and len(group) > 1:
            by_itself = self._fewer(error, len(group)) == 1
            for seat in group:
                seat.by_itself = by_itself
            return
        for seat in group:
            seat.by_itself = False
            self._asking.remove(seat)
            self._let_go(seat, error)
        self._passing = list(group) if error is None else []

    def _forward(self, group: Sequence[Seat]) -> None:
        first = group[0]
        networks, kind = [seat.network for seat in group], first.kind
        made = JointPass(self._bases[kind], networks, kind.precision, kind.draws)
        after = made.forward([seat.batch for seat in group], [seat.start for seat in group], first.padding)
        for seat, features, end in zip(group, made.features, after, strict=True):
            seat.features, seat.end = features, end
        self._pass = made

    def _finish_pass(self) -> None:
        """The way back of the pass whose trials wait for it; one that does not has ended meanwhile."""
        group, waiting = self._passing, self._answering
        self._passing, self._answering = [], []
        gradients = [seat.features.grad if seat in waiting and seat.features is not None else None for seat in group]
        error = self._attempt(lambda: self._backward(gradients)) if waiting else None
        self._pass = None
        if error is not None and len(group) > 1:
            self._in_parts(group, waiting, gradients, self._fewer(error, len(group)))
        else:
            for seat in waiting:
                self._let_go(seat, error)

    def _backward(self, gradients: Sequence[Tensor | None]) -> None:
        assert self._pass is not None
        self._pass.backward(gradients)

    def _in_parts(
        self, group: Sequence[Seat], waiting: Sequence[Seat], gradients: Sequence[Tensor | None], size: int
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
                self._in_parts(group[part], waiting, gradients[part], self._fewer(error, tried))
                continue
            for seat in group[part]:
                if seat in waiting:
                    self._let_go(seat, error)

    def _let_go(self, seat: Seat, error: BaseException | None) -> None:
        seat.error = error
        self.turns.release(seat.turn)

    def _attempt(self, work: Callable[[], None]) -> BaseException | None:
        try:
            work()
        except Exception as error:  # each trial of the pass raises it in its own thread
            if is_out_of_memory(error):
                error.__traceback__ = None  # whose frames hold the tensors of the pass
            return error
        return None

    def _fewer(self, error: BaseException, tried: int) -> int:
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


def _go_together(one: Seat, other: Seat) -> bool:
    """Whether the batches of two trials can be joined: token ids of any length, other inputs of the same shape."""
    if one.kind != other.kind or one.by_itself or other.by_itself:
        return False
    mine, theirs = one.batch, other.batch
    if tokens_of(mine) and tokens_of(theirs):
        return mine.keys() == theirs.keys()
    return _shapes(mine) == _shapes(theirs)


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {name: each.shape[1:] for name, each in batch.items()}
