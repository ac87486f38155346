"""The operations on whole tensors: each one in plain torch and as one fused Triton kernel.

`operations` has the functions to call, `reference` defines what they compute, `dispatch` decides which of the
two runs, and `layout` describes tensors in memory. The other modules hold one kernel each; importing one
imports Triton.
"""
