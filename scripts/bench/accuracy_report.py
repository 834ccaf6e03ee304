from __future__ import annotations
def judge(items, texts, options, console):
    from .accuracy_score import slices
    from .accuracy_runs import CONTENDERS
    for s in slices(items): console.print(s.kind, s.name, s.words, {c: round(s.rate(c),2) for c in s.errors})
    return 0
