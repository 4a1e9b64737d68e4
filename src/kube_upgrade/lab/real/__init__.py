"""`kube-upgrade lab --real`: a cluster of real kubeadm nodes on this machine, by namespaces and pivot_root.

Real are containerd, runc, kubelet, kubeadm, the control plane, kube-proxy, CoreDNS and everything of ours. Two things
stand in: rpm-ostree (a deployment is a folder tree with its own kubelet and kubeadm, laid over /usr) and the reboot
(the node's PID 1 ends and starts again over the deployment that is next).
"""
