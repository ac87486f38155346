"""What every test runs with."""

import torch

# The models are tiny: more threads only get into each other's way.
torch.set_num_threads(1)
