"""python -m kube_upgrade: the command line."""

from kube_upgrade.cli.main import main

if __name__ == "__main__":
    main()
