"""What nodes, kubeadm and programs are told is what they read."""

import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kube_upgrade.cli.main import app
from kube_upgrade.lab import data
from kube_upgrade.lab.judge import Result, Verdict
from kube_upgrade.lab.real import content, kubeadm, repair, services
from kube_upgrade.lab.real.capabilities import Incapable, check
from kube_upgrade.lab.real.cluster import NODES_NAMESPACE
from kube_upgrade.lab.real.outcome import RealOutcome
from kube_upgrade.lab.real.spec import NodeSpec, Service
from kube_upgrade.upgraded.settings import read_settings


def test_a_nodes_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = NodeSpec(
        name="n", folder="/f", lower=("/a", "/usr"), address="172.30.0.11", prefix=24, gateway="172.30.0.1",
        hosts={"n": "172.30.0.11"}, boot_id="b", machine_folder="/var/lib/m", trees="/t", shown=("/opt/python",),
        services=(Service(name="s", argv=("/bin/s", "-x"), needs="/etc/s"),),
    )  # fmt: skip
    spec.save(tmp_path / "spec.json")
    assert NodeSpec.load(tmp_path / "spec.json") == spec


def test_the_first_control_plane_takes_pods_where_no_taint_is_wanted() -> None:
    texts = [
        kubeadm.init_config("n", "172.30.0.11", "v1.36.3", "172.30.0.11:6443", taint=taint) for taint in (True, False)
    ]
    tainted, open_ = (next(iter(yaml.safe_load_all(text)))["nodeRegistration"] for text in texts)
    assert "taints" not in tainted
    assert open_["taints"] == []


def test_a_worker_joins_without_a_control_plane() -> None:
    config = yaml.safe_load(
        kubeadm.join_config("w", "172.30.0.21", "172.30.0.11:6443", control_plane=False, taint=True)
    )
    assert "controlPlane" not in config
    assert config["nodeRegistration"]["name"] == "w"


def test_the_daemons_settings_and_containerds_configuration_can_be_read() -> None:
    settings = read_settings(services.daemon_config(kubeadm.IGNORED))
    assert settings.ignore_preflight == ("SystemVerification",)
    assert tomllib.loads(services.containerd_config("registry.k8s.io/pause:3.10.2"))["version"] == 3


def test_a_machine_without_root_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Incapable, match="it is run by user 1000; needed is root"):
        check(tmp_path, user=1000)


@pytest.mark.parametrize("commands", [repair.FROM_COPY, repair.FROM_SNAPSHOT, repair.IMAGE_AGAIN])
def test_the_documented_ways_back_are_the_commands_that_the_lab_runs(commands: str) -> None:
    page = Path(__file__).parents[4] / "docs" / "reference" / "etcd.md"
    assert f"\n\n{textwrap.indent(commands.strip(), '    ')}\n\n" in page.read_text()


@pytest.mark.parametrize("folder", ["base", "node"])
def test_the_images_of_deploy_are_those_that_the_lab_makes(folder: str) -> None:
    (image,) = yaml.safe_load((data.folder("deploy") / folder / "kustomization.yaml").read_text())["images"]
    assert (image["newName"], image["newTag"]) == {"base": content.OURS, "node": content.DAEMON}[folder]


def test_the_daemon_set_lives_where_privileged_pods_may() -> None:
    node = data.folder("deploy") / "node"
    namespace = yaml.safe_load((node / "namespace.yaml").read_text())["metadata"]
    assert namespace["name"] == NODES_NAMESPACE
    assert namespace["labels"] == {"pod-security.kubernetes.io/enforce": "privileged"}
    assert yaml.safe_load((node / "daemonset.yaml").read_text())["metadata"]["namespace"] == NODES_NAMESPACE


def test_a_host_with_the_daemon_set_has_no_service_of_its_own() -> None:
    with_, without = (services.all_services(Path("/s"), Path("/t"), daemon=daemon) for daemon in (True, False))
    assert [service.name for service in with_] == [*(service.name for service in without), "upgraded"]


def test_an_unknown_scenario_is_refused_with_those_that_exist() -> None:
    result = CliRunner().invoke(app, ["lab", "--real", "--scenario", "none"])
    assert result.exit_code == 2
    assert "scenario 'none' is none of default, rough" in result.output


def test_what_a_scenario_decides_is_refused_beside_it() -> None:
    result = CliRunner().invoke(app, ["lab", "--real", "--to", "v1.37.2"])
    assert result.exit_code == 2
    assert "--to v1.37.2: with --real the scenario decides that" in result.output


@pytest.mark.parametrize(
    ("failure", "gaps", "code"),
    [("", (), 0), ("not so", (), 1), ("not so", ("nodes: 410",), 1), ("", ("nodes: 410",), 3)],
)
def test_only_a_run_that_was_seen_whole_ends_with_0(failure: str, gaps: tuple[str, ...], code: int) -> None:
    verdict = Verdict(result=Result.UNPROVEN if gaps else Result.COMPLETE, gaps=gaps)
    outcome = RealOutcome(scenario="default", failure=failure, verdict=verdict, up=1.0, upgrade=1.0)
    assert outcome.exit_code == code
