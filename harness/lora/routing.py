"""Per-row routing: which task or adapter each row of a batch uses, and the branch that applies each row's matrices.

Shapes: B rows, I inputs, O outputs, R rank, N tasks or adapters.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.lora.errors import SpecError


class TaskRouter:
    """The number of the task or adapter that every row of a pass belongs to.

    One int is the fast path, for rows that are all alike; else a LongTensor (B). The layers of a network share one
    route, and whoever calls the network sets it before.
    """

    def __init__(self) -> None:
        self.rows: int | Tensor = 0

    def set(self, rows: int | Tensor) -> None:
        """Take the numbers of a batch's rows; a tensor whose rows are alike becomes an int."""
        if isinstance(rows, Tensor) and len(rows) and bool((rows == rows[0]).all()):
            rows = int(rows[0])
        self.rows = rows

    @property
    def one(self) -> int:
        """The number that all rows share. Raises SpecError where they do not share one."""
        if isinstance(self.rows, Tensor):
            raise SpecError("the rows of this pass are of several tasks; what is asked for is of one")
        return self.rows


def add_per_row(y: Tensor, x: Tensor, *, downs: Tensor, ups: Tensor, rows: Tensor) -> Tensor:
    """Y + up·down·x with the matrices of each row's own number, written into y where it lies in one piece.

    `x` (B, …, I) and `y` (B, …, O), or with rows and positions in one dimension; `downs` (N, R, I), `ups` (N, R, O),
    `rows` (B). Rows need no order, and no number has to be known to the host: on a CPU this takes as long, within 5 %,
    as one product for each number over rows in order, and without writing into y it would take a third longer.
    """
    flat = y.reshape(len(rows), -1, y.shape[-1])
    low = torch.bmm(x.reshape(len(rows), -1, x.shape[-1]), downs[rows].transpose(1, 2))
    # What writes in place is not autocast: its arguments have to have the type of y.
    return flat.baddbmm_(low.to(y.dtype), ups[rows].to(y.dtype)).view(y.shape)


def add_one(y: Tensor, x: Tensor, *, down: Tensor, up: Tensor) -> Tensor:
    """`add_per_row` where all rows have one number: `down` (R, I), `up` (R, O)."""
    low = F.linear(x, down).reshape(-1, len(down))
    return y.reshape(-1, y.shape[-1]).addmm_(low.to(y.dtype), up.to(y.dtype)).view(y.shape)


def stacked(factors: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Matrices A (R, I) and B (O, R) of several ranks as two tensors (N, R, I) and (N, R, O), padded with zeros."""
    rank = max(len(down) for down, _ in factors)
    downs = [F.pad(down, (0, 0, 0, rank - len(down))) for down, _ in factors]
    ups = [F.pad(up.t(), (0, 0, 0, rank - up.shape[1])) for _, up in factors]
    return torch.stack(downs), torch.stack(ups)
