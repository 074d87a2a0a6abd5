"""Controllers: they turn what objects ask for into other objects; one module or folder per kind.

Each has a pure core (plan, render, status) and a small reconciler that applies it. What a real cluster brings itself
(scheduler, node life cycle, garbage of Pods) is in `standins`, which only the local engine runs.
"""
