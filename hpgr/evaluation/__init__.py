"""Metrics, intervals, comparisons and reports, on anybody's scores and lists.

``ranks`` counts, ``metrics`` and ``classification`` measure, ``intervals`` and ``slices`` say how sure and
where, ``card`` keeps it, ``comparison`` and ``seeds`` say which is better, ``table`` and ``report`` show it.
"""
