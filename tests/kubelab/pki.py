"""Certificates and kubeconfigs: everybody is known by a client certificate, name in CN and group in O."""

import base64
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=2)
_EARLIER = timedelta(hours=1)
_RSA_BITS = 2048


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


class Pki:
    """The authority of one cluster, and everybody it vouches for, in one directory."""

    def __init__(self, directory: Path, server: str) -> None:
        directory.mkdir()
        self._directory = directory
        self._server = server
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("lab-authority", "")
        authority = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self._name, self._key.public_key()).add_extension(
            authority, critical=True
        )
        self.authority = directory / "ca.crt"
        self.authority.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))
        # The API server takes no elliptic curve key in PKCS #8 for the tokens of service accounts.
        self.service_account_key = directory / "service-accounts.key"
        signing = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        self.service_account_key.write_bytes(_key_pem(signing))

    def serving(self, name: str, *, addresses: Sequence[str], names: Sequence[str]) -> Identity:
        """Somebody who is asked at these addresses and names."""
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(one)) for one in addresses
        ]
        alternatives += [x509.DNSName(one) for one in names]
        return self._issue(name, _name(name, ""), [x509.SubjectAlternativeName(alternatives)])

    def client(self, name: str, group: str = "") -> Identity:
        """Somebody who asks, as a member of the group."""
        return self._issue(name.replace(":", "-"), _name(name, group), [])

    def kubeconfig(self, name: str, group: str = "") -> Path:
        """A kubeconfig that needs no other file (JSON, which is YAML)."""
        identity = self.client(name, group)
        user = {
            "client-certificate-data": _base64(identity.certificate),
            "client-key-data": _base64(identity.key),
        }
        cluster = {"server": self._server, "certificate-authority-data": _base64(self.authority)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        }
        path = identity.certificate.with_suffix(".conf")
        path.write_text(json.dumps(document, indent=1))
        path.chmod(0o600)
        return path

    def _issue(self, file: str, name: x509.Name, extensions: Sequence[x509.ExtensionType]) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = self._builder(name, key.public_key()).add_extension(usage, critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        identity = Identity(self._directory / f"{file}.crt", self._directory / f"{file}.key")
        identity.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        identity.key.write_bytes(_key_pem(key))
        return identity

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + VALID)
        )


def _name(name: str, group: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
