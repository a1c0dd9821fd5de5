"""The kernels that a GPU was started with, as a profile saw them."""

from torch.profiler import profile


def kernels_of(seen: profile) -> int:
    """Return the number of kernels, without those of the profiler itself."""
    on_gpu = [event for event in seen.events() or () if str(event.device_type).endswith("CUDA")]
    return sum(not event.is_user_annotation for event in on_gpu)
