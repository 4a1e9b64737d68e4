"""Automatic, safe upgrades of kubeadm clusters whose nodes run Fedora CoreOS."""
