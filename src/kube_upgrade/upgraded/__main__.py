"""`python -m kube_upgrade.upgraded`, and what the self-contained binary starts."""

from kube_upgrade.upgraded.main import main

if __name__ == "__main__":
    main()
