"""The lab's certificates say who someone is, and only what was asked."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kube_upgrade.lab.pki import Authority, signing_keys


@pytest.fixture
def authority() -> Authority:
    return Authority.create("lab")


def test_a_client_is_a_user_with_groups_signed_by_the_authority(authority: Authority) -> None:
    made = x509.load_pem_x509_certificate(authority.client("system:node:a", ["system:nodes", "extra"]).certificate)
    made.verify_directly_issued_by(authority.certificate)
    assert [name.value for name in made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:a"]
    groups = [name.value for name in made.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["system:nodes", "extra"]
    assert purposes(made) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_server_has_its_addresses_and_names_and_is_no_client(authority: Authority) -> None:
    made = x509.load_pem_x509_certificate(authority.server("api", ["127.0.0.1", "localhost"]).certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert purposes(made) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_no_certificate_but_the_authoritys_may_sign(authority: Authority) -> None:
    made = x509.load_pem_x509_certificate(authority.client("someone").certificate)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_key_on_disk_is_only_its_owners(authority: Authority, tmp_path: Path) -> None:
    files = authority.client("someone").write(tmp_path / "pki", "someone")
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.certificate.name == "someone.crt"


def test_token_keys_belong_together() -> None:
    pair = signing_keys()
    private = serialization.load_pem_private_key(pair.key, password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public == pair.certificate


def purposes(made: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
