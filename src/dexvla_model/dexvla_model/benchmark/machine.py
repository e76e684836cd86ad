"""What this machine can do at best, measured: how fast weights are read and how fast matrices are multiplied.

A step of inference has to read every weight once and to do every multiplication once. What these two take at
the machine's own rates is the floor that no program goes below; the larger one counts, because they overlap.
"""

import time
from dataclasses import dataclass

import torch

from dexvla_model.benchmark.timing import synchronize
from dexvla_model.packed_linear import PackedLinear, can_pack

# Bytes that no cache holds, and a matrix product with enough work in it.
_READ_BYTES = 256 * 2**20
_MATRIX = 2048
_REPEATS = 5


@dataclass(frozen=True)
class MachineRates:
    """Best rates of a device in a type.

    Attributes:
        read_bytes_s: bandwidth of reading memory, bytes per second.
        matrix_flop_s: multiplications and additions of a large matrix product, per second.
    """

    read_bytes_s: float
    matrix_flop_s: float

    def floor_s(self, weight_bytes: float, operations: float) -> float:
        """Least time for reading so many bytes of weights and doing so many operations, s."""
        return max(weight_bytes / self.read_bytes_s, operations / self.matrix_flop_s)


def measure_rates(device: torch.device | str, dtype: torch.dtype) -> MachineRates:
    """Measure a device, with the threads that torch has now. Takes about two seconds."""
    # As numbers of 4 bytes, whatever the type: what is asked for is how fast memory comes in.
    values = torch.ones(_READ_BYTES // 4, device=device)
    read_s = _best_s(values.sum, device)
    matrix = torch.randn(_MATRIX, _MATRIX, device=device).to(dtype)
    product = torch.empty_like(matrix)
    products_s = [_best_s(lambda: torch.matmul(matrix, matrix, out=product), device)]
    if can_pack(matrix):
        # Of the ways to multiply that the machine has, the fastest is its limit.
        linear = torch.nn.Linear(_MATRIX, _MATRIX, bias=False, dtype=dtype)
        packed = PackedLinear(linear, _MATRIX)
        products_s.append(_best_s(lambda: packed.product(matrix), device))
    return MachineRates(_READ_BYTES / read_s, 2.0 * _MATRIX**3 / min(products_s))


def _best_s(measured, device: torch.device | str) -> float:
    times = []
    for _ in range(_REPEATS):
        synchronize(device)
        before_s = time.perf_counter()
        measured()
        synchronize(device)
        times.append(time.perf_counter() - before_s)
    return min(times)
