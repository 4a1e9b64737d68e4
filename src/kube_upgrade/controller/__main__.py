"""`python -m kube_upgrade.controller`."""

from kube_upgrade.controller.main import main

if __name__ == "__main__":
    main()
