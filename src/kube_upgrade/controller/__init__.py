"""upgrade-controller: observe the cluster, decide, act. One loop, no memory of its own."""
