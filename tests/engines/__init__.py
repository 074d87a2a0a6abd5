"""Other engines as tests see them: a real kube-apiserver with etcd, controller manager and scheduler."""
