"""In which precision chunks must give what the whole gives."""

import pytest
import torch

from skipstone.pipelines.vae.verdicts import computed_in

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("dtype", "device", "wanted"),
    [
        (torch.float32, CPU, torch.float32),
        (torch.float32, GPU, torch.float16),  # Ten bits of it, in the kernels that compute in TF32.
        (torch.float64, CPU, torch.float32),
        (torch.float64, GPU, torch.float32),
        (torch.bfloat16, CPU, torch.bfloat16),
        (torch.bfloat16, GPU, torch.bfloat16),
    ],
)
def test_the_precision_of_sums(dtype: torch.dtype, device: torch.device, wanted: torch.dtype) -> None:
    assert computed_in(dtype, device) is wanted
