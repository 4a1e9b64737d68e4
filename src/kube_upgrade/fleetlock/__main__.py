"""`python -m kube_upgrade.fleetlock`."""

from kube_upgrade.fleetlock.main import main

if __name__ == "__main__":
    main()
