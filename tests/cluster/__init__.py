"""A Kubernetes cluster for tests: a real control plane, GPU nodes that only seem to be, one node whose pods run."""
