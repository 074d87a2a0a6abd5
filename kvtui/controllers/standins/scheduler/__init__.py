"""A scheduler: filters nodes, scores what is left, binds; explains itself in kube-scheduler's words.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/, k8s.io/kubernetes/pkg/scheduler.
"""
