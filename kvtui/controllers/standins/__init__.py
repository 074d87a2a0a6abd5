"""What the local engine runs in place of a real cluster's own controllers: scheduler, nodes, Pods, budgets."""
