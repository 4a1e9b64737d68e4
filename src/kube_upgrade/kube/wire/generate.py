"""What `make generate` calls: writes the CRD and the reference pages below the current folder."""

from pathlib import Path

from kube_upgrade.kube.wire import crd, reference

if __name__ == "__main__":
    for page in (crd, reference):
        page.write(Path())
