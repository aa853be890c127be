"""Pure functions of tensors; a folder each: contract and choice, the definition in loops, faster files that agree
with it.
"""
