"""What caching does to whole tensors: each operation in plain torch and as one fused Triton kernel.

`operations` has the functions to call, `reference` what they compute, `dispatch` says which of the two runs,
and `layout` how tensors lie. The other modules hold one kernel each; importing one brings in Triton.
"""
