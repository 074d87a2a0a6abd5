"""Informers, queues and controller loops; they know no kind.

Source: k8s.io/client-go/tools/cache, util/workqueue, sigs.k8s.io/controller-runtime.
"""
