"""Of which task or adapter the rows of a forward pass are, and a branch in which every row has matrices of its own.

Shapes: B rows, I inputs, O outputs, R rank, N tasks or adapters.
"""

import torch
from torch import Tensor

from harness.lora.spec import SpecError


class Route:
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


def add_per_row(y: Tensor, x: Tensor, downs: Tensor, ups: Tensor, rows: Tensor) -> Tensor:
    """Y + up·down·x with the matrices of each row's own number.

    `x` (B, …, I) and `y` (B, …, O), or with rows and positions in one dimension; `downs` (N, R, I), `ups` (N, O, R),
    `rows` (B). Rows need no order, and no number has to be known to the host: on a CPU this was as fast as one product
    for each number over rows in order, from 1 to 64 numbers in 64 rows.
    """
    flat = x.reshape(len(rows), -1, x.shape[-1])
    low = torch.bmm(flat, downs[rows].transpose(1, 2))
    whole = torch.baddbmm(y.reshape(len(rows), -1, y.shape[-1]), low, ups[rows].transpose(1, 2))
    return whole.view(y.shape)


def stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Matrices A (R, I) and B (O, R) of several ranks as two tensors (N, R, I) and (N, O, R), padded with zeros."""
    rank = max(len(down) for down, _ in pairs)
    downs = [torch.nn.functional.pad(down, (0, 0, 0, rank - len(down))) for down, _ in pairs]
    ups = [torch.nn.functional.pad(up, (0, rank - up.shape[1])) for _, up in pairs]
    return torch.stack(downs), torch.stack(ups)
